"""Rectangles of a map, and computing one of them exactly from the pixels around it."""

from collections.abc import Callable, Sequence

from torch import Tensor

Region = tuple[slice, slice]  # rows and columns, with explicit start and stop


def strip_region(start: int, stop: int, size: Sequence[int], dim: int) -> Region:
    """Rows (dim -2) or columns (dim -1) from `start` to `stop` over all of a map of `size`."""
    height, width = size
    part = slice(start, stop)
    return (part, slice(0, width)) if dim == -2 else (slice(0, height), part)


def with_margin(
    compute: Callable[[Region], Tensor],
    region: Region,
    size: Sequence[int],
    margin: int,
    scale: int = 1,
) -> Tensor:
    """Compute `region` of a map by computing a larger one and cropping it.

    The margin ends at the edges of the map, so that whatever `compute` pads there is what it pads
    on the whole map; what it pads at the other edges is wrong, but does not reach `region`.

    Args:
        compute: gives (..., scale * rows, scale * columns) for the rows and columns of a region.
        region: what is wanted, in that shape.
        size: height and width of the map.
        margin: pixels computed around `region`, at least the reach of `compute`.
        scale: how much larger than its region the result of `compute` is.
    """

    def widen(part: slice, length: int) -> slice:
        return slice(max(part.start - margin, 0), min(part.stop + margin, length))

    height, width = size
    larger = widen(region[0], height), widen(region[1], width)
    rows, columns = (
        slice((part.start - whole.start) * scale, (part.stop - whole.start) * scale)
        for part, whole in zip(region, larger, strict=True)
    )
    return compute(larger)[..., rows, columns]
