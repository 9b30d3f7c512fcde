#!/usr/bin/env bash
# Installs a bundle made by bundle.sh, without internet (docs/offline.md):
#
#   install_bundle.sh --python PYTHON [--bundle DIR]                  into the environment of PYTHON
#   install_bundle.sh --target DIR [--python PYTHON] [--bundle DIR]   into a new folder, DIR
#
# --python     Python to install for (with --target by default python3)
# --bundle     folder of the bundle (default: the one that holds this script)
set -euo pipefail

fail() {
    printf 'install_bundle.sh: %s\n' "$1" >&2
    exit 1
}

bundle=$(dirname "$0") python='' target=''
while [ $# -gt 0 ]; do
    case $1 in
        --help) exec sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" ;;
        --python | --target | --bundle)
            [ $# -ge 2 ] || fail "$1 needs a value"
            printf -v "${1#--}" %s "$2"
            shift 2
            ;;
        *) fail "unknown argument $1; there are --python, --target and --bundle" ;;
    esac
done
[ -n "$python$target" ] || fail "name where to install: --python PYTHON for its environment, or --target DIR"
python=${python:-python3}
[ -f "$bundle/SHA256SUMS" ] || fail "$bundle is no bundle: it has no SHA256SUMS; name one: --bundle DIR"
bundle=$(realpath "$bundle")
[ -z "$target" ] || target=$(realpath -m "$target")
[ -z "$target" ] || [ ! -e "$target" ] || fail "$target exists; remove it or name another folder"
(cd "$bundle" && sha256sum --check --quiet --strict SHA256SUMS) ||
    fail "files of $bundle are missing or damaged (named above); copy the bundle again"

command -v "$python" >/dev/null || fail "$python was not found; name a Python: --python PYTHON"
python=$(realpath -s "$(command -v "$python")")
needed=$(cat "$bundle/python-version")
found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$found" = "$needed" ] ||
    fail "the bundle is for Python $needed and $python is $found; name a Python $needed (--python PYTHON), or make a bundle with: scripts/bundle.sh OUT --python $found"
# What is on this path now would be checked and tried in place of what is installed.
unset PYTHONPATH
# Settings of pip on this machine, such as an index or a folder of its own, have no say here.
export PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1
pip=("$python" -m pip --isolated install --quiet --no-index --no-deps)
"$python" -m pip --version >/dev/null 2>&1 || fail "$python has no pip; try: $python -m ensurepip"

"$python" - "$bundle/left-out.txt" <<'END' || fail "install these first, or make a bundle with them"
import importlib.metadata
import pathlib
import sys

# The copy inside pip: packaging itself may be missing here.
from pip._vendor.packaging.requirements import Requirement

problems = []
for line in pathlib.Path(sys.argv[1]).read_text().splitlines():
    needed = Requirement(line)
    try:
        found = importlib.metadata.version(needed.name)
    except importlib.metadata.PackageNotFoundError:
        problems.append(f"the bundle leaves out {needed.name} and needs {line}; {sys.executable} has none")
        continue
    if not needed.specifier.contains(found, prereleases=True):
        problems.append(f"the bundle leaves out {needed.name} and needs {line}; {sys.executable} has {found}")
sys.exit("\n".join(problems) or 0)
END

files=(--find-links "$bundle/wheels" --requirement "$bundle/requirements.txt")
if [ -n "$target" ]; then
    trap 'rm -rf "$target.partial"' EXIT
    rm -rf "$target.partial"
    "${pip[@]}" "${files[@]}" --target "$target.partial" || fail "pip failed; its messages are above"
    mv -T "$target.partial" "$target"
else
    "${pip[@]}" "${files[@]}" || fail "pip failed; its messages are above"
fi
[ -z "$target" ] || export PYTHONPATH=$target
cd "$bundle"  # Python looks for modules in the current folder first.
"$python" -c 'import basicsr_m2trans; basicsr_m2trans.register()' ||
    fail "everything is installed, but basicsr_m2trans cannot be imported; the messages are above"
"$python" -m pip --isolated check || printf 'Note: the packages above do not suit each other, says pip; not all need matter.\n'
printf 'Installed and tried. Next:\n'
[ -z "$target" ] || printf '  export PYTHONPATH=%q\n' "$target"
printf '  %q -m basicsr_m2trans.cli upscale IMAGE --scale 2 -o OUT\n' "$python"
