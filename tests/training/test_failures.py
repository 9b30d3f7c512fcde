import pytest
import torch

from basicsr_m2trans.training.failures import explain_failure


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            "lower batch_size_per_gpu",
        ),
        (
            torch.AcceleratorError("CUDA error: unspecified launch failure\nCompile with"),
            "the GPU failed; see nvidia",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "the GPU failed"),
        (
            RuntimeError(
                "Caught RuntimeError in DataLoader worker process 0.\nTraceback:\nRuntimeError: "
                "unable to allocate shared memory(shm) for file </torch_1>: No space left on "
                "device (28)"
            ),
            "num_worker_per_gpu: 0, or make it larger (docker run --shm-size 2g) (unable to "
            "allocate shared memory",
        ),
        (
            RuntimeError(
                "DataLoader worker (pid 1) is killed by signal: Bus error. It is possible"
            ),
            "--shm-size",
        ),
        (
            RuntimeError("DataLoader worker (pid(s) 1) is killed by signal: Killed. "),
            "memory is used up; lower num_",
        ),
        (
            RuntimeError(
                "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by "
                "peer [::1]"
            ),
            "the exchange with the other processes failed",
        ),
        (
            torch.distributed.DistBackendError("NCCL error\nncclRemoteError: A call failed"),
            "its message or torchrun's",
        ),
        (
            torch.distributed.DistBackendError(
                "NCCL error in: x.cpp\nLast error:\nDuplicate GPU detected : rank 0 and"
            ),
            "start no more processes than there are GPUs (torchrun --nproc_per_node) (Duplicate "
            "GPU detected : rank 0",
        ),
        (OSError(28, "No space left on device"), "a disk or /dev/shm is full"),
    ],
)
def test_failures_of_the_machine_are_explained(error, remedy):
    explanation = explain_failure(error)
    assert remedy in explanation
    assert explanation.count("\n") == 0


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), OSError(2, "absent")]
)
def test_other_errors_keep_their_traceback(error):
    assert explain_failure(error) is None
