"""Any network on large images, in overlapping tiles with blended seams.

Where a network is not local (statistics of the whole map, long chains of windows),
`tiling_difference` measures what the tiles cost. M2Trans has `upscale_image`, which is exact.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from basicsr_m2trans.inference.regions import Region, with_margin
from basicsr_m2trans.utils.errors import InputError, Problem

# Width in low-resolution pixels over which one tile fades into the next.
SEAM = 8


@dataclass(frozen=True)
class TilingDifference:
    """How far tiles are from the whole image: largest and mean absolute difference in [0, 1]."""

    largest: float
    mean: float


def check_tile(tile: object) -> None:
    """Refuse, as an `InputError`, what can be no `tile` of `upscale_in_tiles`."""
    if not isinstance(tile, int) or tile < 2 * SEAM:
        text = f"must be a whole number of at least {2 * SEAM}, but is {tile!r}"
        problem = Problem(("tile",), text, "raise it, or remove it for whole images")
        raise InputError(problem.statement, [problem])


@torch.no_grad()
def upscale_in_tiles(
    net: nn.Module,
    images: Tensor,
    upscale: int,
    tile: int = 192,
    overlap: int = 32,
) -> Tensor:
    """`net(images)` tile by tile.

    Args:
        net: maps (N, C, h, w) to (N, C', upscale * h, upscale * w).
        images: (N, C, H, W) in [0, 1], any H, W >= 1, on the device of `net`.
        upscale: the network's scale.
        tile: longest side of a tile without its margin, in pixels of `images`, at least 16.
        overlap: margin around each tile that is computed and thrown away, in pixels of `images`;
            exact for a network whose output depends on no pixel further away.

    Returns:
        (N, C', upscale * H, upscale * W), with the type of `images`.

    Raises:
        InputError: `tile` is below 16, `overlap` below 0, or the network's output has another size
            than `upscale` promises.
    """
    check_tile(tile)
    if overlap < 0:
        raise InputError(f"overlap must not be negative, but is {overlap}")
    height, width = size = images.shape[-2:]

    def compute(region: Region) -> Tensor:
        x = images[(..., *region)]
        part = net(x)
        if part.shape[-2:] != (upscale * x.shape[-2], upscale * x.shape[-1]):
            raise InputError(
                f"upscale is {upscale}, but the network makes {part.shape[-2:]} of {x.shape[-2:]} "
                "pixels"
            )
        return part

    out: Tensor | None = None
    for rows in _parts(height, tile):
        for columns in _parts(width, tile):
            part = with_margin(compute, (rows, columns), size, overlap, upscale)
            if out is None:
                out = images.new_zeros((*part.shape[:2], height * upscale, width * upscale))
            down = _weights(rows, height, upscale, images)
            across = _weights(columns, width, upscale, images)
            target = out[..., rows.start * upscale :, columns.start * upscale :]
            target[..., : len(down), : len(across)] += part * (down[:, None] * across)
    assert out is not None  # every image has a tile
    return out


class Tiled(nn.Module):
    """A network that upscales in tiles, in the place of one whose cost outgrows the image.

    Args:
        network: as `net` of `upscale_in_tiles`, like the others.

    Raises:
        InputError: see `upscale_in_tiles`; a bad `tile` is found at once.
    """

    def __init__(self, network: nn.Module, upscale: int, tile: int, overlap: int = 16) -> None:
        super().__init__()
        check_tile(tile)
        self.network, self.upscale, self.tile, self.overlap = network, upscale, tile, overlap

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, C', upscale * H, upscale * W)."""
        return upscale_in_tiles(self.network, images, self.upscale, self.tile, self.overlap)


def tiling_difference(
    net: nn.Module, images: Tensor, upscale: int, tile: int = 192, overlap: int = 32
) -> TilingDifference:
    """Difference of `upscale_in_tiles` to the network on the whole image; the same arguments."""
    with torch.no_grad():
        difference = (upscale_in_tiles(net, images, upscale, tile, overlap) - net(images)).abs()
    return TilingDifference(difference.max().item(), difference.mean().item())


def _parts(length: int, tile: int) -> Iterator[slice]:
    """Equal parts of a side, at most `tile` long, with half a seam more where they meet."""
    count = -(-length // tile)
    edges = [round(length * number / count) for number in range(count + 1)]
    for start, stop in itertools.pairwise(edges):
        yield slice(max(start - SEAM // 2, 0), min(stop + SEAM // 2, length))


def _weights(part: slice, length: int, upscale: int, like: Tensor) -> Tensor:
    """Weights of a part's upscaled pixels along one side: one, but rising or falling at seams."""
    weights, seam = like.new_ones((part.stop - part.start) * upscale), SEAM * upscale
    rise = (torch.arange(seam, dtype=like.dtype, device=like.device) + 0.5) / seam
    if part.start > 0:
        weights[: len(rise)] = rise
    if part.stop < length:
        weights[-len(rise) :] = 1 - rise
    return weights
