"""Discrete wavelet transforms between the branches of a CFTM (Sec. III-B, Eq. 6 and 8).

The sub-bands LL, HL, LH, HH lie one after the other along the channels; HL holds the differences
along the width and LH those along the height.
"""

import torch
from torch import Tensor, nn

from basicsr_m2trans.utils.errors import InputError

# Of the coarsest branch (Sec. III-B).
MAX_LEVELS = 2


def haar_dwt(x: Tensor) -> Tensor:
    """One orthonormal Haar transform: (N, C, H, W), even H and W -> (N, 4C, H/2, W/2)."""
    top_left, top_right = x[..., 0::2, 0::2], x[..., 0::2, 1::2]
    bottom_left, bottom_right = x[..., 1::2, 0::2], x[..., 1::2, 1::2]
    ll = top_left + top_right + bottom_left + bottom_right
    hl = top_right + bottom_right - top_left - bottom_left
    lh = bottom_left + bottom_right - top_left - top_right
    hh = top_left + bottom_right - top_right - bottom_left
    return torch.cat((ll, hl, lh, hh), dim=1) / 2


def haar_idwt(x: Tensor) -> Tensor:
    """Inverse of `haar_dwt`: (N, 4C, H, W) -> (N, C, 2H, 2W)."""
    ll, hl, lh, hh = x.chunk(4, dim=1)
    top = torch.stack((ll - hl - lh + hh, ll + hl - lh - hh), dim=-1)
    bottom = torch.stack((ll - hl + lh - hh, ll + hl + lh + hh), dim=-1)
    return torch.stack((top.flatten(-2), bottom.flatten(-2)), dim=-2).flatten(-3, -2) / 2


def haar_matrix(levels: int) -> Tensor:
    """(4^j, 4^j): sub-bands, by rows, of a block of 2^j x 2^j pixels after j transforms."""
    pixels = torch.eye(4**levels).view(4**levels, 1, 2**levels, 2**levels)
    for _ in range(levels):
        pixels = haar_dwt(pixels)
    return pixels.view(4**levels, 4**levels).T.contiguous()


class WaveletTransform(nn.Module):
    """One level of any wavelet that PyWavelets knows, through pytorch-wavelets.

    The boundary is periodic (`mode='periodization'`), so that an even map halves exactly and the
    inverse is exact. Signs follow `haar_dwt`: for `wave='haar'` both give the same numbers.

    Args:
        wave: PyWavelets' name of the wavelet, such as 'db2' or 'bior2.2', with at most 16 taps.

    Raises:
        InputError: PyWavelets does not know `wave`, or its filters are longer than 16 taps.
    """

    # M2Trans transforms maps of 16x16 and larger, and pytorch-wavelets' periodic boundary
    # reconstructs exactly only while the filter is not longer than the map.
    MAX_TAPS = 16

    def __init__(self, wave: str) -> None:
        super().__init__()
        import pywt
        from pytorch_wavelets import DWTForward, DWTInverse

        if wave not in pywt.wavelist(kind="discrete"):
            raise InputError(
                f"unknown wavelet {wave!r}; choose 'haar', 'none' or one of "
                "pywt.wavelist(kind='discrete')"
            )
        if (taps := pywt.Wavelet(wave).dec_len) > self.MAX_TAPS:
            raise InputError(
                f"wavelet {wave!r} has {taps} taps; at most {self.MAX_TAPS} reconstruct exactly"
            )
        self.analysis = DWTForward(J=1, wave=wave, mode="periodization")
        self.synthesis = DWTInverse(wave=wave, mode="periodization")
        # Filters are constants of the architecture, not weights: they stay out of every checkpoint.
        for module in (self.analysis, self.synthesis):
            for name, buffer in list(module.named_buffers()):
                module.register_buffer(name, buffer, persistent=False)

    def dwt(self, x: Tensor) -> Tensor:
        """(N, C, H, W) with even H and W -> (N, 4C, H/2, W/2)."""
        low, (high,) = self.analysis(x)
        lh, hl, hh = high.unbind(dim=2)
        return torch.cat((low, -hl, -lh, hh), dim=1)

    def idwt(self, x: Tensor) -> Tensor:
        """(N, 4C, H, W) -> (N, C, 2H, 2W)."""
        low, hl, lh, hh = x.chunk(4, dim=1)
        return self.synthesis((low, [torch.stack((-lh, -hl, hh), dim=2)]))


class HaarTransform(nn.Module):
    """`haar_dwt` and `haar_idwt` with the interface of `WaveletTransform`, and as matrices.

    The matrices are buffers, to lie on the network's device, and stay out of every checkpoint.
    """

    dwt, idwt = staticmethod(haar_dwt), staticmethod(haar_idwt)

    def __init__(self) -> None:
        super().__init__()
        for levels in range(MAX_LEVELS + 1):
            self.register_buffer(f"matrix{levels}", haar_matrix(levels), persistent=False)

    def matrix(self, levels: int) -> Tensor:
        """`haar_matrix` of 0 to 2 levels."""
        return getattr(self, f"matrix{levels}")
