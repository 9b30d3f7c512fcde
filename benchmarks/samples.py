"""Images of a prepared set, or phantoms, for benchmarks that need real structure."""

from collections.abc import Iterator
from pathlib import Path

import torch


def evenly_chosen(
    folder: Path | None, scale: int, count: int, phantom_side: int = 256
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """LR (1, 3, h, w) and HR (1, 3, scale * h, scale * w) in [0, 1] of a prepared set's images.

    Args:
        folder: what `m2trans prepare` wrote; None for phantoms.
        scale: of the LR images.
        count: how many at most, evenly chosen.
        phantom_side: side of the phantoms' HR images.
    """
    from basicsr_m2trans.apps.preparation.phantom import make_phantom
    from basicsr_m2trans.data.images import to_tensor
    from basicsr_m2trans.evaluation.prepared_set import build_set

    if folder is None:
        for seed in range(count):
            hr = to_tensor(make_phantom(seed, phantom_side, phantom_side)).expand(3, -1, -1)[None]
            lr = torch.nn.functional.interpolate(
                hr, scale_factor=1 / scale, mode="bicubic", antialias=True
            )
            yield lr.clamp(0, 1), hr
        return
    dataset = build_set(folder, scale)
    for index in (
        torch.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().int().tolist()
    ):
        yield dataset[index]["lq"][None], dataset[index]["gt"][None]
