"""A network compiled by PyTorch, for many images of one size."""

import importlib.util
import os
import shutil

import torch
from torch import Tensor, nn

from basicsr_m2trans.errors import InputError

# Each size is compiled anew, which takes minutes on a GPU; PyTorch itself gives up after 8.
MOST_SIZES = 4


class CompiledNetwork:
    """`network(images)`, compiled for the first sizes that it gets; images of other sizes are computed without.

    On a GPU kernels are chosen by measurement and started as one CUDA graph (mode 'max-autotune').

    Args:
        network: maps (N, C, h, w) to (N, C', scale * h, scale * w), in eval mode, on `device`.
        device: where it computes.

    Raises:
        InputError: a compiler is missing.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        require_compiler(device)
        self.network = network
        # Not with symbolic sizes: they give slower code, and CUDA graphs need fixed ones.
        self._compiled = torch.compile(network, dynamic=False, mode=None if device.type == "cpu" else "max-autotune")
        self._shapes: set[torch.Size] = set()

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', scale * H, scale * W); the first call with a size compiles."""
        if images.shape not in self._shapes:
            if len(self._shapes) == MOST_SIZES:
                return self.network(images)
            self._shapes.add(images.shape)
        # A CUDA graph writes every result to the same place.
        return self._compiled(images).clone()


def require_compiler(device: torch.device) -> None:
    """Check before any work what `torch.compile` needs beside PyTorch.

    Raises:
        InputError: it is not here.
    """
    if device.type == "cpu":
        names = [os.environ.get("CXX", "g++")]
    else:
        names = [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang", "cc"]
        if importlib.util.find_spec("triton") is None:
            raise InputError("compile needs the package triton on a GPU; install it, or leave out compile")
    if not any(shutil.which(name) for name in names):
        raise InputError(f"compile needs the compiler {' or '.join(names)}; install it, or leave out compile")
