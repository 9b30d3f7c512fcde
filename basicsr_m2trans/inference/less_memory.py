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
    """One way to compute images: what is said of it, the computation, and whether it differs for several only."""

    description: str
    compute: Callable[[Tensor], Tensor]
    of_several: bool = False


class Enlarger:
    """A network that computes an image again in less memory where a GPU's memory is used up.

    First whole images if wanted, together and then one by one, then strips (M2Trans with wavelet 'haar' or 'none'),
    then overlapping tiles. What did not fit once is not tried again for batches of that shape.

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
            self._ways.append(_Way("as they are", whole))
            self._ways.append(
                _Way(
                    "one by one", lambda images: torch.cat([whole(image) for image in images.split(1)]), of_several=True
                )
            )
        if isinstance(network, M2Trans) and isinstance(network.blocks[0].wavelet, HaarTransform):
            self._ways.append(
                _Way("in strips (the same result, to rounding)", lambda images: enlarge(network, images, max_memory))
            )
        self._ways.append(
            _Way("in tiles (nearly the same result)", lambda images: enlarge_tiled(network, images, upscale))
        )
        self._too_large: set[tuple[torch.Size, _Way]] = set()

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1], any H, W >= 1 -> (N, C', upscale * H, upscale * W); without gradient.

        Raises:
            InputError: see `enlarge`.
            torch.OutOfMemoryError: not even tiles fit.
        """
        count, _, height, width = images.shape
        ways = [
            way
            for way in self._ways
            if (images.shape, way) not in self._too_large and (count > 1 or not way.of_several)
        ]
        for way, smaller in itertools.pairwise(ways):
            try:
                return way.compute(images)
            except torch.OutOfMemoryError:
                # Nothing more here: the error's traceback holds what fills the memory until this block is left.
                pass
            torch.cuda.empty_cache()
            number = f"{count} images of " if count > 1 else ""
            self.note(
                f"{number}{width}x{height} pixels do not fit into the GPU's memory; computed {smaller.description}"
            )
            self._too_large.add((images.shape, way))
        return ways[-1].compute(images)
