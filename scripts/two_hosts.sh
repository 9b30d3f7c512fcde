#!/usr/bin/env bash
# Trains on two hosts that are network namespaces of one machine, one process on each, with a
# virtual cable between them; then one host dies, and the other goes on alone from the last checkpoint.
# See docs/distributed.md.
#
#   sudo scripts/two_hosts.sh [FOLDER]    keeps the experiment in FOLDER; without it, all is removed
#
# Needs root and iproute2. PYTHON is the Python that has the package installed (default:
# .venv/bin/python).
set -eu
cd "$(dirname "$0")/.."
PROJECT=$PWD
PYTHON=$(realpath -s "${PYTHON:-.venv/bin/python}")
HOSTS=(m2trans1 m2trans2)

fail() {
    printf 'two_hosts.sh: %s\n' "$1" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "network namespaces need root; run it with sudo"
[ -x "$PYTHON" ] || fail "$PYTHON does not exist; run make install, or set PYTHON"
for host in "${HOSTS[@]}"; do
    [ ! -e "/run/netns/$host" ] || fail "the namespace $host exists already; remove it with: ip netns delete $host"
done

folder=${1:-$(mktemp -d)}
mkdir -p "$folder"
folder=$(realpath "$folder")
[ ! -e "$folder/experiments/two_hosts" ] || fail "$folder/experiments/two_hosts exists already; give another folder"

clean_up() {
    for host in "${HOSTS[@]}"; do
        ip netns pids "$host" 2>/dev/null | xargs --no-run-if-empty kill -9 || true
        ip netns delete "$host" 2>/dev/null || true
        rm -rf "/etc/netns/$host"
    done
    [ $# = 0 ] || rm -rf "$1"
}
if [ $# = 0 ]; then trap 'clean_up "$folder"' EXIT; else trap clean_up EXIT; fi

# Each host has a name that both can resolve: `ip netns exec` shows it /etc/netns/NAME/hosts.
for number in 1 2; do
    host=m2trans$number
    ip netns add "$host"
    mkdir -p "/etc/netns/$host"
    printf '127.0.0.1 localhost\n10.77.0.1 m2trans1\n10.77.0.2 m2trans2\n' > "/etc/netns/$host/hosts"
done
ip link add lan0 netns m2trans1 type veth peer name lan0 netns m2trans2
for number in 1 2; do
    ip -n "m2trans$number" address add "10.77.0.$number/24" dev lan0
    ip -n "m2trans$number" link set lan0 up
    ip -n "m2trans$number" link set lo up
done

cd "$folder"
export PYTHONPATH=$PROJECT OMP_NUM_THREADS=1 GLOO_SOCKET_IFNAME=lan0 CUDA_VISIBLE_DEVICES=
"$PYTHON" -c "from basicsr_m2trans.apps.preparation.phantom import write_phantoms; write_phantoms('images', 6, height=96, width=96)"
"$PYTHON" -m basicsr_m2trans.cli prepare images set --scales 2 > prepare.txt 2>&1

train_on() {
    exec ip netns exec "$1" unshare --uts sh -c 'hostname "$0" && exec "$@"' "$1" \
        "$PYTHON" -m torch.distributed.run --nnodes 1:2 --nproc-per-node 1 --max-restarts 3 \
        --rdzv-backend c10d --rdzv-endpoint m2trans1:29500 --rdzv-id two_hosts \
        --rdzv-conf last_call_timeout=30 \
        -m basicsr_m2trans.cli train "$PROJECT/options/demo/train_M2Trans_x2.yml" --launcher pytorch --auto_resume \
        --force_yml name=two_hosts train:total_iter=40 val:val_freq=20 \
        datasets:train:dataroot_gt=set/HR.lmdb datasets:train:dataroot_lq=set/LR_bicubic_X2.lmdb \
        datasets:train:captions=set/captions.csv datasets:train:batch_size_per_gpu=2 \
        datasets:val:dataroot_gt=set/HR.lmdb datasets:val:dataroot_lq=set/LR_bicubic_X2.lmdb \
        logger:print_freq=5 logger:save_checkpoint_freq=10 > "$1.txt" 2>&1
}

train_on m2trans1 &
first=$!
train_on m2trans2 &
disown
until [ -e experiments/two_hosts/training_states/20.state ]; do
    kill -0 "$first" 2>/dev/null || { tail -n 50 m2trans1.txt; fail "training has ended too early"; }
    sleep 0.2
done
ip netns pids m2trans2 | xargs --no-run-if-empty kill -9 || true
echo "m2trans2 is dead"
wait "$first" || { tail -n 50 m2trans1.txt; fail "m2trans1 did not go on alone"; }
grep -E 'World size|iter:  |# psnr|Resuming|now takes|rank [0-9]+\)|End of training' m2trans1.txt
