#!/usr/bin/env bash
# What to do with MINUTES on a GPU: prepare images, run the tests for GPUs, measure, then train
# (docs/campaign.md).
#
#   scripts/campaign.sh MINUTES
#
# Works for at most ten minutes and is then repeated with the same number until it says that it is
# complete. What counts afterwards lies in campaign/results. Variables: PYTHON, DEVICE, IMAGES,
# PLAN, WORK; for rehearsals QUICK and LEAST.
set -u
cd "$(dirname "$0")/.."

fail() {
    printf 'campaign: %s\n' "$1" >&2
    exit 2
}

PIECE=540        # seconds of a piece; the rest of ten minutes is for trainings that are slow to stop
COLLECT=25       # seconds that are kept for collecting results
LARGEST=15000000 # bytes of one file, and
TOTAL=60000000   # of all files of results
BENCH_LIMIT=150  # seconds of a benchmark
BENCH_PERCENT=45 # of the time, after which no benchmark begins: the rest is for trainings
BENCHMARKS=(forward train attention cine semantic memory scaling loader validate operators)

[[ ${1-} =~ ^[1-9][0-9]*$ && $# == 1 ]] || fail 'give the minutes of the whole campaign, e.g. scripts/campaign.sh 28'
PYTHON=${PYTHON:-python3} DEVICE=${DEVICE:-cuda} PLAN=${PLAN:-plans/campaign.yml} QUICK=${QUICK-}
WORK=$(realpath --canonicalize-missing "${WORK:-campaign}")
IMAGES=${IMAGES:-$WORK/images}
RESULTS=$WORK/results
m2trans=("$PYTHON" -m basicsr_m2trans.cli)
# Trainings start in a folder of their own, and take the GPU that is there.
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
case $DEVICE in
    cuda) ;;
    cuda:[0-9]*)
        # Of those that this machine's scheduler has given.
        IFS=, read -ra visible <<<"${CUDA_VISIBLE_DEVICES-}"
        export CUDA_VISIBLE_DEVICES=${visible[${DEVICE#cuda:}]-${DEVICE#cuda:}} DEVICE=cuda
        ;;
    cpu) export CUDA_VISIBLE_DEVICES= ;;
    *) fail "DEVICE is $DEVICE; write cuda, cuda:1 or cpu" ;;
esac

for set in train val; do
    [ -d "$IMAGES/$set" ] || fail "$IMAGES/$set is missing; put the images there, or name another folder by IMAGES"
done
[ -f "$PLAN" ] || fail "PLAN: there is no file $PLAN"
"$PYTHON" - "$DEVICE" <<'END' || fail "$PYTHON cannot be used; docs/offline.md says how to install"
import sys
import torch
import basicsr_m2trans
basicsr_m2trans.register()
torch.zeros(1, device=sys.argv[1])
name = torch.cuda.get_device_name() if sys.argv[1] == "cuda" else "the processor"
print(f"campaign: PyTorch {torch.__version__} on {name}")
END

mkdir -p "$WORK/done" "$WORK/failed" "$RESULTS"/{logs,bench,weights,comparison}
exec 9>"$WORK/lock"
flock -n 9 || fail "another campaign works in $WORK"
used=$(cat "$WORK/seconds" 2>/dev/null || echo 0)
left=$(($1 * 60 - used))
end=$(((left < PIECE ? left : PIECE) - COLLECT))
note_time() { echo $((used + SECONDS)) >"$WORK/seconds"; }
trap note_time EXIT

# Ctrl-C and SIGTERM end the step with all its processes; trainings save a checkpoint.
child=''
interrupt() {
    trap '' INT TERM
    [ -z "$child" ] || { kill -TERM "$child" && wait "$child"; } 2>/dev/null
    printf 'campaign: interrupted; repeat the command to go on\n'
    exit 130
}
trap interrupt INT TERM

# Runs a step that is not done yet: its name, the most seconds that it may take, and the command.
# Steps that would not fit into this piece are left to the next one, or given up in the last;
# trainings, which have no limit, go on where they were.
step() {
    local name=$1 limit=$2 status
    shift 2
    if [ -e "$WORK/done/$name" ] || [ -e "$WORK/failed/$name" ]; then return; fi
    local remaining=$((end - SECONDS))
    if ((remaining < 15 || limit > remaining)); then
        if ((limit > remaining && left < PIECE)); then
            printf 'campaign: no time is left for %s\n' "$name"
        else
            postponed=1
        fi
        return
    fi
    printf 'campaign: %s, %d s used\n' "$name" $((used + SECONDS))
    # In the background, because a shell hears no signal while it waits for a command; without the
    # lock, which processes that outlive this one would keep.
    timeout --signal=TERM --kill-after=45 $((limit ? limit : remaining)) "$@" \
        >>"$RESULTS/logs/$name.txt" 2>&1 9>&- </dev/null &
    child=$!
    wait "$child"
    status=$?
    child=''
    note_time
    if ((status == 0)); then
        touch "$WORK/done/$name"
    elif ((limit == 0 && (status == 124 || status == 137))); then
        postponed=1
    else
        ((status == 124)) && status="124 (it took longer than $limit s)"
        echo "status $status" >"$WORK/failed/$name"
        printf 'campaign: %s failed with status %s; its last lines (%s):\n' "$name" "$status" "$RESULTS/logs/$name.txt"
        tail -n 5 "$RESULTS/logs/$name.txt"
    fi
}

leave_out() {
    printf '%s %s bytes\n' "$(basename "$1" .safetensors)" "$(stat -c %s "$1")" >>"$RESULTS/left_out.txt"
    rm "$1"
}

# Copies what shall be kept to results: tables and values, and the weights of finished trainings in
# half precision.
collect() {
    local run weights file
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
    while read -r file; do leave_out "$file"; done < <(find "$RESULTS" -type f -size +$((LARGEST - 1))c)
    while (($(du -sb "$RESULTS" | cut -f1) >= TOTAL)); do
        file=$(find "$RESULTS" -type f -printf '%s %p\n' | sort -rn | awk 'NR == 1 { sub(/^[0-9]+ /, ""); print }')
        leave_out "$file"
    done
}

postponed=0
for folder in "$IMAGES"/*/; do
    set=$(basename "$folder")
    step "prepare-$set" 0 "${m2trans[@]}" prepare "$folder" "$WORK/data/$set" --lmdb raw
done
if ((!postponed)); then
    step bench-plan 180 "${m2trans[@]}" bench plan --plan "$PLAN" --device "$DEVICE" --budget 3 --repetitions 3 \
        --json "$RESULTS/bench/plan.json"
    step tests 240 "$PYTHON" -m pytest -m gpu -q -p no:cacheprovider tests
    for name in "${BENCHMARKS[@]}"; do
        ((used + SECONDS + BENCH_LIMIT <= $1 * 60 * BENCH_PERCENT / 100)) || break
        step "bench-$name" $BENCH_LIMIT \
            "${m2trans[@]}" bench "$name" --device "$DEVICE" --budget 5 $QUICK --json "$RESULTS/bench"
    done
fi
# Once and when everything before is over, because a training's length cannot change.
if ((!postponed)) && [ ! -e "$WORK/groups" ]; then
    step lengths 30 "$PYTHON" scripts/campaign_plan.py "$PLAN" "$RESULTS/bench/plan.json" $((left - SECONDS)) "$WORK" ${LEAST-}
fi
if ((!postponed)) && [ -e "$WORK/groups" ]; then
    number=0 before_scales='' before_methods=bicubic
    while read -r scale methods; do
        number=$((number + 1))
        # Those before are named, too, so that the tables have them; what is trained is kept.
        step "train-$number" 0 \
            "${m2trans[@]}" compare "$WORK/plan.yml" --scales "$before_scales$scale" --methods "$before_methods,$methods"
        ((postponed)) && break
        # A training that has failed would fail again.
        if [ -e "$WORK/done/train-$number" ]; then before_scales+=$scale, before_methods+=,$methods; fi
    done <"$WORK/groups"
fi
collect
note_time

total=$((used + SECONDS))
if ((postponed && total < $1 * 60 - 60)); then
    printf 'campaign: %d of %d s used; repeat the command to go on\n' "$total" $(($1 * 60))
    exit 75
fi
printf 'campaign: complete after %d s; results in %s\n' "$total" "$RESULTS"
failures=$(ls "$WORK/failed")
[ -z "$failures" ] || { printf 'failed: %s\n' $failures && exit 1; }
