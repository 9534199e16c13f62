# Programs that some tests need and that no Python package brings: sh scripts/system.sh java chromium
# What is there is left alone; what is missing is installed with apt-get, if this user may.
set -eu

say() { printf '%s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

has_java_17() {
    has java || return 1
    major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${major:-0}" -ge 17 ]
}

# The first of these packages that the distribution has.
first_of() {
    for package in "$@"; do
        apt-cache show "$package" >/dev/null 2>&1 && { printf '%s' "$package"; return; }
    done
    printf '%s' "$1"
}

packages=''  # of Debian 12
missing=''
for program in "$@"; do
    case $program in
        java)
            has_java_17 || { packages="$packages java"; missing="$missing openjdk-17-jre-headless"; }
            has mvn || { packages="$packages maven"; missing="$missing maven"; } ;;
        chromium)
            has chromium || { packages="$packages chromium"; missing="$missing chromium"; } ;;
        *) say "unknown program $program; known are java and chromium"; exit 2 ;;
    esac
done
[ -n "$packages" ] || exit 0

if [ "$(id -u)" = 0 ]; then as_root=''
elif has sudo && sudo -n true 2>/dev/null; then as_root='sudo -n'
else as_root='no'; fi
if [ "$as_root" = no ] || ! has apt-get; then
    say "missing, and this user can't install it: Debian's$missing; install them, and run this again"
    exit 1
fi

say "installing$missing"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
names=''
for package in $packages; do
    [ "$package" != java ] || package=$(first_of openjdk-17-jre-headless openjdk-21-jre-headless default-jre-headless)
    names="$names $package"
done
$as_root apt-get install -y -qq --no-install-recommends $names >/dev/null
