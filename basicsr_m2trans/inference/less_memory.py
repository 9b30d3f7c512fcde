"""A GPU's memory has a fixed end: where a whole image does not fit, strips or tiles of it do."""

from collections import Counter
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.archs.wavelet import HaarTransform
from basicsr_m2trans.inference.bounded_memory import DEFAULT_MEMORY, upscale_image
from basicsr_m2trans.inference.tiles import upscale_in_tiles
from basicsr_m2trans.utils.errors import InputError

# How a way to compute is described to the user, and the way.
_Way = tuple[str, Callable[[Tensor], Tensor]]


class NetworkRunner:
    """A network that computes an image again in less memory where a GPU's memory is used up.

    First whole images if wanted, together and then one by one and not compiled, then strips
    (M2Trans with wavelet 'haar' or 'none'), then overlapping tiles. What did not fit once is not
    tried again for batches of that shape.

    Args:
        network: maps (N, C, h, w) in [0, 1] to (N, C', upscale * h, upscale * w).
        upscale: its scale.
        note: called with one line for the user when a batch of a new shape was computed in less
            memory.
        whole: computes whole images, tried first: the network or a compiled one; None begins with
            strips or tiles.
        max_memory: most memory in MiB for strips; see `upscale_image`.
    """

    def __init__(
        self,
        network: nn.Module,
        upscale: int,
        note: Callable[[str], object],
        whole: Callable[[Tensor], Tensor] | None = None,
        max_memory: int = DEFAULT_MEMORY,
    ) -> None:
        self.network, self.upscale, self.note = network, upscale, note
        self.whole, self.max_memory = whole, max_memory
        # How many of the ways to compute batches of a shape have failed.
        self._failed: Counter[torch.Size] = Counter()

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, C', upscale * H, upscale * W), without gradient.

        The result has the type of `images`, also under autocast.

        Raises:
            InputError: see `upscale_image`; not where whole images were tried before.
            torch.OutOfMemoryError: not even tiles fit.
        """
        count, _, height, width = images.shape
        known = self._failed[images.shape]
        ways = list(self._ways(count))[known:]
        for description, compute in ways:
            try:
                result = compute(images)
                break
            except torch.OutOfMemoryError:
                if description == ways[-1][0]:
                    raise
                # Nothing more here: the error's traceback holds what fills the memory until this
                # block is left.
            torch.cuda.empty_cache()
            self._failed[images.shape] += 1
        if self._failed[images.shape] > known:
            number = f"{count} images of " if count > 1 else ""
            self.note(
                f"{number}{width}x{height} pixels do not fit into the GPU's memory; computed "
                f"{description}"
            )
        # Autocast's types have too few levels for pixels.
        return result.to(images.dtype)

    def _ways(self, count: int) -> Iterator[_Way]:
        """Ways to compute `count` images, each of which needs less memory than the one before."""
        if self.whole is not None:
            yield "as they are", self.whole
            if count > 1 or self.whole is not self.network:
                yield "one by one" if count > 1 else "without compilation", self._one_by_one
        if isinstance(self.network, M2Trans) and isinstance(
            self.network.blocks[0].wavelet, HaarTransform
        ):
            yield "in strips (the same result, to rounding)", self._in_strips
        yield (
            "in tiles (nearly the same result)",
            lambda images: upscale_in_tiles(self.network, images, self.upscale),
        )

    def _one_by_one(self, images: Tensor) -> Tensor:
        # Not by `whole`: compiling for another shape takes memory itself.
        return torch.cat([self.network(image) for image in images.split(1)])

    def _in_strips(self, images: Tensor) -> Tensor:
        assert isinstance(self.network, M2Trans)  # `_ways` has looked
        try:
            return upscale_image(self.network, images, self.max_memory)
        except InputError as error:
            if self.whole is None:
                raise
            raise torch.OutOfMemoryError(str(error)) from error
