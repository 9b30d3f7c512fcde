"""Upscaling images of any size: M2Trans exactly, in bounded memory; other networks in tiles."""

from basicsr_m2trans.inference.bounded_memory import enlarge, enlarge_strips
from basicsr_m2trans.inference.tiles import (
    Tiled,
    TilingDifference,
    enlarge_tiled,
    tiling_difference,
)

__all__ = [
    "Tiled",
    "TilingDifference",
    "enlarge",
    "enlarge_strips",
    "enlarge_tiled",
    "tiling_difference",
]
