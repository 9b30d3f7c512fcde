"""A GPU's memory has a fixed end: where a whole image does not fit, strips or tiles of it do."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.archs.wavelet import HaarTransform
from basicsr_m2trans.inference.bounded_memory import DEFAULT_MEMORY, enlarge
from basicsr_m2trans.inference.tiles import enlarge_tiled


class _Way(NamedTuple):
    """One way to compute an image: what is said of it, and the computation."""

    description: str
    compute: Callable[[Tensor], Tensor]


class Enlarger:
    """A network that computes an image again in less memory where a GPU's memory is used up.

    First the whole image if wanted, then strips (M2Trans with wavelet 'haar' or 'none'), then overlapping tiles.
    Images of a shape that did not fit begin with the way that did.

    Args:
        network: maps (N, C, h, w) in [0, 1] to (N, C', upscale * h, upscale * w).
        upscale: its scale.
        note: called with one line for the user whenever less memory is taken.
        whole: computes whole images, tried first; None begins with strips or tiles.
        max_memory: most memory in MiB for strips; see `enlarge`.
    """

    def __init__(
        self,
        network: nn.Module,
        upscale: int,
        note: Callable[[str], object],
        whole: Callable[[Tensor], Tensor] | None = None,
        max_memory: int = DEFAULT_MEMORY,
    ) -> None:
        self.note = note
        self._ways: list[_Way] = []
        if whole is not None:
            self._ways.append(_Way("as a whole", whole))
        if isinstance(network, M2Trans) and isinstance(network.blocks[0].wavelet, HaarTransform):
            self._ways.append(
                _Way("in strips (the same result, to rounding)", lambda images: enlarge(network, images, max_memory))
            )
        self._ways.append(
            _Way("in tiles (nearly the same result)", lambda images: enlarge_tiled(network, images, upscale))
        )
        self._first: dict[torch.Size, int] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1], any H, W >= 1 -> (N, C', upscale * H, upscale * W); without gradient.

        Raises:
            InputError: see `enlarge`.
            torch.OutOfMemoryError: not even tiles fit.
        """
        height, width = images.shape[-2:]
        ways = self._ways[self._first.get(images.shape, 0) :]
        for way, smaller in itertools.pairwise(ways):
            try:
                return way.compute(images)
            except torch.OutOfMemoryError:
                # Nothing more here: the error's traceback holds what fills the memory until this block is left.
                pass
            torch.cuda.empty_cache()
            self.note(f"{width}x{height} pixels do not fit into the GPU's memory; computed {smaller.description}")
            self._first[images.shape] = self._ways.index(smaller)
        return ways[-1].compute(images)
