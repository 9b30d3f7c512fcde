#!/usr/bin/env bash
# What to do with MINUTES on a GPU: prepare images, run the tests for GPUs, measure, then train (docs/campaign.md).
#
#   scripts/campaign.sh MINUTES
#
# Works for at most ten minutes and is then repeated with the same number until it says that it is complete. What counts
# afterwards lies in campaign/results. Variables: PYTHON, DEVICE, IMAGES, PLAN, WORK; for
# rehearsals also QUICK and LEAST.
set -u
cd "$(dirname "$0")/.."

fail() {
    printf 'campaign: %s\n' "$1" >&2
    exit 2
}

PIECE=570   # seconds; the rest of ten minutes is for what starts and ends a piece
COLLECT=25  # seconds that are kept for collecting results
LARGEST=15  # MB of one file, and
TOTAL=60    # MB of all files of results
BENCHMARKS=${BENCHMARKS:-forward train attention cine semantic memory scaling loader validate operators}

[[ ${1-} =~ ^[1-9][0-9]*$ && $# == 1 ]] || fail 'give the minutes of the whole campaign, e.g. scripts/campaign.sh 28'
PYTHON=${PYTHON:-python3} DEVICE=${DEVICE:-cuda} PLAN=${PLAN:-plans/campaign.yml} WORK=${WORK:-campaign} QUICK=${QUICK-}
IMAGES=${IMAGES:-$WORK/images}
RESULTS=$(realpath --canonicalize-missing "$WORK/results")
m2trans=("$PYTHON" -m basicsr_m2trans.cli)

for set in train val; do
    [ -d "$IMAGES/$set" ] || fail "$IMAGES/$set is missing; put the images there, or name another folder by IMAGES"
done
[ -f "$PLAN" ] || fail "PLAN: there is no file $PLAN"
"$PYTHON" - "$DEVICE" <<'PYTHON' || fail "$PYTHON cannot be used; docs/offline.md says how to install"
import sys
import torch
import basicsr_m2trans
basicsr_m2trans.register()
torch.zeros(1, device=sys.argv[1])
name = torch.cuda.get_device_name(sys.argv[1]) if sys.argv[1].startswith("cuda") else "processor"
print(f"campaign: PyTorch {torch.__version__} on {name}")
PYTHON

mkdir -p "$WORK/done" "$WORK/failed" "$RESULTS"/{logs,bench,weights,comparison}
exec 9>"$WORK/lock"
flock -n 9 || fail "another campaign works in $WORK"
used=$(cat "$WORK/seconds" 2>/dev/null || echo 0)
left=$(($1 * 60 - used))
end=$(((left < PIECE ? left : PIECE) - COLLECT))
trap 'echo $((used + SECONDS)) >"$WORK/seconds"' EXIT

# Runs a step that is not done yet: its name, the most seconds that it may take, and the command. Steps that would not
# fit into this piece are left to the next one; trainings, which have no limit, go on where they were.
step() {
    local name=$1 limit=$2 status
    shift 2
    if [ -e "$WORK/done/$name" ] || [ -e "$WORK/failed/$name" ]; then return; fi
    local remaining=$((end - SECONDS))
    if ((remaining < 15 || limit > remaining)); then
        postponed=1
        return
    fi
    printf 'campaign: %s, %d s used\n' "$name" $((used + SECONDS))
    timeout --signal=TERM --kill-after=20 $((limit ? limit : remaining)) "$@" >>"$RESULTS/logs/$name.txt" 2>&1
    status=$?
    if ((status == 0)); then
        touch "$WORK/done/$name"
    elif ((status == 124 && limit == 0)); then
        postponed=1
    else
        ((status == 124)) && status="124 (it took longer than $limit s)"
        echo "status $status" >"$WORK/failed/$name"
        printf 'campaign: %s failed with status %s; its last lines (%s):\n' "$name" "$status" "$RESULTS/logs/$name.txt"
        tail -n 5 "$RESULTS/logs/$name.txt"
    fi
}

# Copies what shall be kept to results: tables and values, and the weights of finished trainings in half precision.
collect() {
    local run weights size
    (cd "$WORK/comparison" 2>/dev/null && find . -path ./experiments -prune -o -type f \
        \( -name '*.json' -o -name '*.csv' -o -name '*.txt' -o -name '*.md' -o -name '*.yml' -o -path './figures/*' \) \
        -print0 | xargs -0r cp --parents -t "$RESULTS/comparison")
    for run in "$WORK"/comparison/experiments/*/; do
        run=$(basename "$run")
        weights=$RESULTS/weights/$run.safetensors
        if [ -f "$WORK/comparison/experiments/$run/models/net_g_latest.pth" ] && [ ! -e "$weights" ] &&
            ! grep -qs "^$run " "$RESULTS/left_out.txt"; then
            "${m2trans[@]}" export "$WORK/comparison/experiments/$run/models/net_g_latest.pth" \
                --format safetensors --fp16 -o "$weights" >>"$RESULTS/logs/export.txt" 2>&1
        fi
    done
    find "$RESULTS" -type f -size +$((LARGEST * 1000 - 1))k -printf '%P %s bytes\n' -delete |
        sed -E 's#^weights/(.*)\.safetensors#\1#' >>"$RESULTS/left_out.txt"
    size=$(du -sm "$RESULTS" | cut -f1)
    ((size <= TOTAL)) || printf 'campaign: %s has %d MB, more than %d\n' "$RESULTS" "$size" "$TOTAL"
}

postponed=0
for folder in "$IMAGES"/*/; do
    set=$(basename "$folder")
    step "prepare-$set" 0 "${m2trans[@]}" prepare "$folder" "$WORK/data/$set" --lmdb raw
done
compare=("${m2trans[@]}" compare "$PLAN" --data "$WORK/data" --out "$WORK/comparison" --test "val=$WORK/data/val")
if ((!postponed)); then
    step bench-plan 120 "${m2trans[@]}" bench plan --plan "$PLAN" --device "$DEVICE" $QUICK --json "$RESULTS/bench/plan.json"
    step tests 240 "$PYTHON" -m pytest -m gpu -q -p no:cacheprovider tests
    for name in $BENCHMARKS; do
        step "bench-$name" 150 "${m2trans[@]}" bench "$name" --device "$DEVICE" --budget 5 $QUICK --json "$RESULTS/bench/$name.json"
    done
    # Once, because a training's length cannot change.
    if [ -f "$RESULTS/bench/plan.json" ] && [ ! -s "$WORK/lengths" ]; then
        "$PYTHON" scripts/campaign_lengths.py "$RESULTS/bench/plan.json" $((left - SECONDS)) ${LEAST-} >"$WORK/lengths.partial" &&
            mv "$WORK/lengths.partial" "$WORK/lengths"
    fi
    if [ -s "$WORK/lengths" ]; then
        while read -r scale methods iterations; do
            step "train-x$scale-${methods//,/-}" 0 "${compare[@]}" --scales "$scale" --methods "bicubic,$methods" --iters "$iterations" </dev/null
            ((postponed)) && break
        done <"$WORK/lengths"
    else
        postponed=1
    fi
fi
collect

failures=$(ls "$WORK/failed")
total=$((used + SECONDS))
if ((postponed && total < $1 * 60 - 60)); then
    printf 'campaign: %d of %d s used; repeat the command to go on\n' "$total" $(($1 * 60))
    exit 75
fi
printf 'campaign: complete after %d s; results in %s (%s MB)\n' "$total" "$RESULTS" "$(du -sm "$RESULTS" | cut -f1)"
[ -z "$failures" ] || { printf 'failed: %s\n' $failures && exit 1; }
