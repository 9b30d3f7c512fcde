"""Upscaling images of any size: M2Trans exactly, in bounded memory; other networks in tiles."""

from basicsr_m2trans.inference.bounded_memory import upscale_image, upscale_in_strips
from basicsr_m2trans.inference.tiles import tiling_difference, upscale_in_tiles

__all__ = ["tiling_difference", "upscale_image", "upscale_in_strips", "upscale_in_tiles"]
