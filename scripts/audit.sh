# Known vulnerabilities in the locked dependencies; says so where the vulnerability service can't be reached.
set -u
lock="requirements/lock-py$("$VENV/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt"
output=$(timeout 120 "$VENV/bin/python" -m pip_audit --disable-pip --require-hashes -r "$lock" --progress-spinner off 2>&1)
status=$?
if [ $status -eq 0 ]; then
    echo "no known vulnerability in $lock"
elif printf '%s' "$output" | grep -qE '^Found [0-9]+ known vulnerabilit'; then
    printf '%s\n' "$output"
    exit 1
else
    echo "NOT AUDITED: the vulnerability service did not answer"
fi
