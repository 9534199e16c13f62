# Make $VENV and install exactly what the lock of its Python names. Called by the Makefile.
set -eu

say() { printf '%s\n' "$*" >&2; }
stop() { say "$*"; exit 1; }

command -v git >/dev/null 2>&1 || stop "git is missing: install it (Debian: apt install git)"

supported='import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else 1)'
found=''
for candidate in ${PYTHON:-python3.12 python3.13 python3.11 python3}; do
    if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c "$supported" >/dev/null 2>&1; then
        found=$candidate
        break
    fi
done
[ -n "$found" ] || stop "Python 3.11, 3.12 or 3.13 is missing: install one (Debian: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python3.12"
"$found" -c 'import venv, ensurepip' >/dev/null 2>&1 || stop "the venv module of $found is missing: install it (Debian: apt install python3-venv)"

platform='import platform, sys; sys.exit(0 if sys.platform == "linux" and platform.machine() == "x86_64" else 1)'
glibc='import os, sys; v = os.confstr("CS_GNU_LIBC_VERSION") or "glibc 0"; sys.exit(0 if tuple(map(int, v.split()[1].split("."))) >= (2, 34) else 1)'
if ! "$found" -c "$platform" || ! "$found" -c "$glibc" 2>/dev/null; then
    [ -n "${PGBIN:-}" ] || stop "the embedded PostgreSQL is for Linux x86-64 with glibc 2.34 or later: install PostgreSQL and name its folder of programs in PGBIN"
fi

version=$("$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
lock="requirements/lock-py$version.txt"
say "installing into $VENV with Python $version (a few minutes the first time)"
unset PYTHONPATH PYTHONHOME
"$found" -m venv --clear "$VENV"
"$VENV/bin/python" -m pip install --disable-pip-version-check -q --require-hashes -r "$lock"
# The S3 Encryption Client holds back cryptography for all, and pyCANON (an oracle of the tests) tabulate, so they come in without their
# own dependencies, which are there.
"$VENV/bin/python" -m pip install --disable-pip-version-check -q --require-hashes --no-deps -r requirements/without-dependencies.txt
"$VENV/bin/python" -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
"$VENV/bin/python" -m compileall -q "$VENV/lib" >/dev/null 2>&1 || true
