# Sourced by the build scripts beside it: where things are, and the copy that is built from.
set -eu
umask 022
cd "$(dirname "$0")/.."
ROOT=$PWD
NAME=xctl-probe-network
WHEELS=$ROOT/build/wheels # what packaging/requirements.txt pins
# Of Debian 12, Ubuntu 24.04 and Debian 13: compiled modules belong to one of them.
PYTHONS="3.11 3.12 3.13"
# And to one of these, by uname(1).
MACHINES="x86_64 aarch64"
DIST=$ROOT/dist
PYTHON=${PYTHON:-$ROOT/.venv/bin/python}
VERSION=$("$PYTHON" -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
# https://reproducible-builds.org/specs/source-date-epoch/
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
mkdir -p "$DIST"

# stage DIR: the sources as they are now, without what was built or cached beside them.
stage() {
    rm -rf "$1"
    mkdir -p "$1"
    git ls-files -z --cached --others --exclude-standard -- \
        README.md LICENSE CHANGELOG.md pyproject.toml xctl_probe fallback bpf |
        xargs -0 cp -P --parents -t "$1"
    find "$1" -type f -perm /111 -exec chmod 755 {} +
    find "$1" -type f ! -perm /111 -exec chmod 644 {} +
}

# wheels_of MACHINES: the files of wheels that are compiled for them.
wheels_of() {
    for machine in $1; do
        ls "$WHEELS"/*_"$machine".whl
    done
}

# modules DIR MACHINES [EXCEPT ...]: the probe and what it imports, as an import path for all PYTHONS.
# Modules of two machines may have the same name; then those of the last one are there.
modules() {
    path=$1 machines=$2
    shift 2
    rm -rf "$path"
    mkdir -p "$path"
    for wheel in "$DIST/$(echo $NAME | tr - _)-$VERSION-py3-none-any.whl" "$WHEELS"/*-any.whl \
        $(wheels_of "$machines"); do
        name=${wheel##*/}
        case " setuptools $* " in # setuptools builds the wheel
        *" ${name%%-*} "*) ;;
        *) "$PYTHON" -m zipfile -e "$wheel" "$path" ;;
        esac
    done
    # Pages and completions have other places; RECORD is for pip, which does not install this.
    rm -rf "$path"/*.data "$path"/*.dist-info/RECORD
}
