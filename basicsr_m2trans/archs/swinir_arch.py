"""SwinIR (Liang et al., ICCVW 2021, arXiv 2108.10257) for images of any size."""

from basicsr.archs.swinir_arch import SwinIR
from torch import Tensor

from basicsr_m2trans.archs.padding import upscale_padded


class PaddedSwinIR(SwinIR):
    """BasicSR's SwinIR, which takes only multiples of its window, padded inside as the original is.

    Arguments as of SwinIR, whose weights fit. Input and output are (N, in_chans, H, W) and
    (N, in_chans, upscale * H, upscale * W), RGB in [0, 1], H, W >= 1.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pad by reflection at the right and bottom, upscale, crop."""
        window_size = self.layers[0].residual_group.blocks[0].window_size
        return upscale_padded(super().forward, x, window_size)
