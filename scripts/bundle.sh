#!/usr/bin/env bash
# Collects the wheels of this package and of all that it needs into a folder, for machines without
# internet (docs/offline.md):
#
#   scripts/bundle.sh OUT [--python 3.12] [--extras video,dicom] [--without torch torchvision ...]
#
# --python     Python version of the machine that the bundle is for (default: that of PYTHON)
# --extras     extras of pyproject.toml (default: none)
# --without    packages that the machine has already; what only they need stays out too.
#              NAME=SUBSTITUTE where it has another package with the same modules:
#              opencv-python=opencv-python-headless
#
# PYTHON is the Python that has the package installed (default: .venv/bin/python): building BasicSR
# imports torch.
set -euo pipefail
PROJECT=$(realpath "$(dirname "$0")/..")
PYTHON=${PYTHON:-$PROJECT/.venv/bin/python}

fail() {
    printf 'bundle.sh: %s\n' "$1" >&2
    exit 1
}

out='' version='' extras='' without=()
while [ $# -gt 0 ]; do
    case $1 in
        --python | --extras)
            [ $# -ge 2 ] || fail "$1 needs a value"
            if [ "$1" = --python ]; then version=$2; else extras=$2; fi
            shift 2
            ;;
        --without)
            shift
            while [ $# -gt 0 ] && [[ $1 != -* ]]; do
                [[ $1 =~ ^[^=]+(=[^=]+)?$ ]] || fail "--without $1: write NAME or NAME=SUBSTITUTE"
                without+=("$1") && shift
            done
            [ ${#without[@]} -gt 0 ] || fail "--without needs the names of packages"
            ;;
        --help) exec sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" ;;
        -*) fail "unknown option $1; there are --python, --extras and --without" ;;
        *)
            [ -z "$out" ] || fail "one folder is needed, not both $out and $1"
            out=$1
            shift
            ;;
    esac
done
[ -n "$out" ] || fail "name the folder to make: scripts/bundle.sh OUT"
out=$(realpath -m "$out")
[ ! -e "$out" ] || fail "$out exists; remove it or name another folder"
command -v "$PYTHON" >/dev/null || fail "$PYTHON does not exist; run make install, or set PYTHON"
[ -n "$version" ] || version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[[ $version =~ ^3\.[0-9]+$ ]] || fail "--python is '$version'; write a version such as 3.12"

mkdir -p "$(dirname "$out")"
stage=$(mktemp -d "$out.partial.XXXXXX")
source=$(mktemp -d)
trap 'rm -rf "$stage" "$source"' EXIT
mkdir "$stage/wheels"
chmod 755 "$stage"

# Built from a copy: setuptools would take what an older build has left in the project.
cp -r "$PROJECT"/{pyproject.toml,README.md,LICENSE,basicsr_m2trans} "$source"
"$PYTHON" -m pip wheel -qq --no-deps --no-build-isolation --wheel-dir "$stage/wheels" "$source" ||
    fail "the wheel of this package could not be built; pip's messages are above"
"$PYTHON" "$PROJECT/scripts/collect_wheels.py" "$stage" --constraints "$PROJECT/constraints.txt" --python "$version" \
    --extras "$extras" --without "${without[@]}"
cp "$PROJECT/scripts/install_bundle.sh" "$stage"
(cd "$stage" && find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum >SHA256SUMS)
sync "$stage"/* "$stage"/wheels/*
mv -T "$stage" "$out"

printf '%s for Python %s: %s wheels, %s MiB; the largest:\n' "$out" "$version" \
    "$(find "$out/wheels" -type f | wc -l)" "$(($(du -sb "$out" | cut -f1) / 1048576))"
# Read whole: a head that ends early would end du by SIGPIPE, and pipefail this script.
find "$out/wheels" -type f -printf '%s %f\n' | sort -rn | awk 'NR <= 8 { printf "%8.1f MiB  %s\n", $1 / 1048576, $2 }'
printf 'On the other machine: %s/install_bundle.sh --help\n' "$(basename "$out")"
