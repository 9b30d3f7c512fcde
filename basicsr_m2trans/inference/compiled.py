"""A network compiled by PyTorch, for many images of one size."""

import importlib.util
import os
import shutil

import torch
from torch import Tensor, nn

from basicsr_m2trans.utils.errors import InputError

# Each size is compiled anew, which takes minutes on a GPU; PyTorch itself gives up after 8.
MOST_SIZES = 4


class CompiledNetwork:
    """`network(images)`, compiled for the first few sizes of images, as it is for others.

    Batches of one size of images are filled up with copies to as many images as the largest so far,
    because compiling for another number takes longer. On a GPU kernels are chosen by measurement
    and started as one CUDA graph (mode 'max-autotune').

    Args:
        network: maps (N, C, h, w) to (N, C', scale * h, scale * w), in eval mode, on `device`.
        device: where it computes.

    Raises:
        InputError: a compiler is missing.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        missing = missing_for_compiling(device.type)
        if missing:
            raise InputError(
                f"compile needs {missing}, which is not here; install it, or leave out compile"
            )
        self.network = network
        # Not with symbolic sizes: they give slower code, and CUDA graphs need fixed ones.
        self._compiled = torch.compile(
            network, dynamic=False, mode=None if device.type == "cpu" else "max-autotune"
        )
        # By channels and size of the images, how many at once the compiled network gets.
        self._counts: dict[torch.Size, int] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', scale * H, scale * W); the first call with a size compiles.

        Raises:
            torch.OutOfMemoryError: a GPU does not have enough memory, for compiling either.
        """
        size = images.shape[1:]
        if size not in self._counts and len(self._counts) == MOST_SIZES:
            return self.network(images)
        count = self._counts[size] = max(len(images), self._counts.get(size, 0))
        # Always in one memory layout: another would be compiled anew.
        filled = images.new_empty(count, *size)
        filled[: len(images)], filled[len(images) :] = images, images[-1]
        try:
            # A CUDA graph writes every result to the same place.
            return self._compiled(filled)[: len(images)].clone()
        except Exception as error:
            # PyTorch wraps what ends a compilation.
            cause = getattr(error, "inner_exception", None)
            if isinstance(cause, torch.OutOfMemoryError):
                raise cause from error
            raise


def missing_for_compiling(device_type: str) -> str:
    """What `torch.compile` needs and does not find, such as 'the compiler g++', or nothing."""
    if device_type == "cpu":
        names = [os.environ.get("CXX", "g++")]
    else:
        names = [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang", "cc"]
        if importlib.util.find_spec("triton") is None:
            return "the package triton"
    return "" if any(map(shutil.which, names)) else f"the compiler {' or '.join(names)}"
