"""What errors of the machine mean to the user: a GPU or process that fails, memory or a disk that
is full.
"""

import re

# Texts of errors of PyTorch and Python, the special before the general; what they mean, and what to
# do.
_REMEDIES = {
    "Duplicate GPU detected": (
        "two processes share one GPU, which NCCL refuses; start no more processes than there are "
        "GPUs (torchrun --nproc_per_node)"
    ),
    "CUDA out of memory": (
        "the GPU's memory is used up; lower batch_size_per_gpu or gt_size, or set train: "
        "accumulate, checkpointing or amp"
    ),
    r"CUDA error|CUDNN_STATUS|NCCL error": (
        "the GPU failed; see nvidia-smi and the system's log. CUDA_LAUNCH_BLOCKING=1 in the "
        "environment shows the operation if it happens again"
    ),
    r"unable to (allocate|resize|open|mmap).*shared memory|killed by signal: Bus error": (
        "loader processes find no space in /dev/shm; write datasets: train: num_worker_per_gpu: 0, "
        "or make it larger (docker run --shm-size 2g)"
    ),
    r"DataLoader worker .*killed by signal: Killed": (
        "a loader process was killed, mostly because the machine's memory is used up; lower "
        "num_worker_per_gpu"
    ),
    "No space left on device": (
        "a disk or /dev/shm is full; make room there, or for /dev/shm write datasets: train: "
        "num_worker_per_gpu: 0"
    ),
}


def explain_failure(error: RuntimeError | OSError) -> str | None:
    """Meaning and remedy of an error, with the line of its message that tells it; None for errors
    of other kinds.
    """
    if is_lost_exchange(error):
        return (
            "the exchange with the other processes failed; if another rank has ended, its message "
            f"or torchrun's root cause says why ({str(error).splitlines()[0].partition('. ')[0]})"
        )
    for pattern, remedy in _REMEDIES.items():
        for line in str(error).splitlines():
            if re.search(pattern, line):
                return f"{remedy} ({line.removeprefix('RuntimeError: ').strip()})"
    return None


def is_lost_exchange(error: RuntimeError | OSError) -> bool:
    """Whether Gloo or NCCL lost another process of the run, as far as the error's text tells."""
    return (
        re.search(r"gloo/transport/|ncclRemoteError|ncclSystemError|[Tt]imed out", str(error))
        is not None
    )
