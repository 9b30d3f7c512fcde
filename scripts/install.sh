#!/usr/bin/env bash
# Make .venv with everything that the demo and the tests need. Called by `make install`.
# Does nothing when .venv is already whole; a failed step names itself and removes what it leaves.
set -u
cd "$(dirname "$0")/.."

VENV=.venv
MARKER=.made_by_make_install
STAMP=$VENV/.installed
LOG=install.log
NEEDED_GIB=4

fail() {
    printf '\nmake install: %s\n' "$1" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.12 python3.10 python3}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# Everything that decides what is installed; with another value the environment is out of date.
fingerprint() {
    { cat constraints.txt pyproject.toml scripts/install.sh; "$1" --version; pwd; } | sha256sum | cut -d' ' -f1
}

# Each step's output goes to the log; only a failure is shown.
step() {
    local name=$1
    shift
    printf '  %s ...\n' "$name"
    "$@" >>"$LOG" 2>&1 && return
    rm -rf "$VENV"
    tail -n 15 "$LOG" >&2
    if grep -qiE 'no space left|errno 28' "$LOG"; then
        fail "the step '$name' ran out of disk space; about $NEEDED_GIB GiB are needed here ($(pwd)) and some in ${TMPDIR:-/tmp}."
    elif grep -qiE 'name resolution|failed to establish|connection (refused|reset|error)|network is unreachable|max retries|read timed out' "$LOG"; then
        fail "the step '$name' could not reach the package index; check the network (or set PIP_INDEX_URL to a mirror) and repeat."
    fi
    fail "the step '$name' failed; the whole output is in $LOG."
}

# Without PYTHON= any whole environment is good, whichever Python it was made with.
[ ! -e "$VENV" ] || [ -f "$VENV/$MARKER" ] || fail "$VENV exists and was not made by make install; rename or remove it."
[ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(fingerprint "${PYTHON:-$VENV/bin/python}")" ] && exit 0
python=$(find_python) || fail "Python 3.10, 3.11 or 3.12 is needed and none was found; install one or name it: make install PYTHON=/path/to/python3.11"

free_gib=$(($(df -Pk . | awk 'NR == 2 { print $4 }') / 1048576))
[ "$free_gib" -ge "$NEEDED_GIB" ] || fail "only $free_gib GiB are free here ($(pwd)); $NEEDED_GIB GiB are needed."
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail "$python has no venv module; on Debian and Ubuntu: apt-get install python3-venv"

printf 'Installing into %s with %s (a few minutes; log in %s)\n' "$VENV" "$("$python" --version)" "$LOG"
rm -rf "$VENV"
: >"$LOG"
trap 'rm -rf "$VENV"; fail "interrupted"' INT TERM
pip="$VENV/bin/python -m pip --disable-pip-version-check install --constraint constraints.txt"
mkdir "$VENV" && touch "$VENV/$MARKER"
step "making the environment" "$python" -m venv "$VENV"
# torch first: a later step would otherwise choose another build. TORCH_INDEX picks one, such as
# https://download.pytorch.org/whl/cpu
step "torch and torchvision" $pip ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision
step "build tools for BasicSR" $pip setuptools wheel cython numpy
# BasicSR's setup imports torch and numpy, which an isolated build would download again.
step "BasicSR" $pip --no-build-isolation basicsr
step "this package and its tests" $pip --no-build-isolation --editable '.[test]'
step "checking the result" "$VENV/bin/python" -c 'import basicsr_m2trans; basicsr_m2trans.register()'
fingerprint "$python" >"$STAMP"
printf 'Installed. Activate with: source %s/bin/activate\n' "$VENV"
