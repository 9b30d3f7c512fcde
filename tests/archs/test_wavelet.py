import pytest
import torch

from basicsr_m2trans.archs.wavelet import (
    HaarTransform,
    WaveletTransform,
    haar_dwt,
    haar_idwt,
    haar_matrix,
)
from basicsr_m2trans.utils.errors import InputError


def test_haar_of_one_pixel_block():
    block = torch.tensor([[[[1.0, 2.0], [3.0, 5.0]]]])
    # LL = 11/2; HL = right - left = 3/2; LH = bottom - top = 5/2; HH = (1 + 5 - 2 - 3)/2
    assert haar_dwt(block).flatten().tolist() == [5.5, 1.5, 2.5, 0.5]


def test_haar_is_orthonormal_and_inverted():
    x = torch.randn(2, 3, 6, 10, dtype=torch.float64)
    bands = haar_dwt(x)
    assert bands.shape == (2, 12, 3, 5)
    torch.testing.assert_close(bands.square().sum(), x.square().sum())
    torch.testing.assert_close(haar_idwt(bands), x)


def test_haar_equals_pytorch_wavelets():
    from pytorch_wavelets import DWTForward

    x = torch.randn(2, 3, 8, 12)
    low, (high,) = DWTForward(J=1, wave="haar", mode="zero")(x)
    expected = torch.cat((low, -high[:, :, 1], -high[:, :, 0], high[:, :, 2]), dim=1)
    torch.testing.assert_close(haar_dwt(x), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(WaveletTransform("haar").dwt(x), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("wave", ["haar", "db2", "db8", "sym4", "bior2.2", "bior4.4", "coif2"])
def test_perfect_reconstruction(wave):
    transform = WaveletTransform(wave)
    x = torch.randn(2, 3, 16, 24)
    assert transform.dwt(x).shape == (2, 12, 8, 12)
    torch.testing.assert_close(transform.idwt(transform.dwt(x)), x, atol=1e-5, rtol=0)
    assert not transform.state_dict()


@pytest.mark.parametrize("wave", ["db9", "coif3", "sym20"])
def test_filters_longer_than_the_smallest_map_are_refused(wave):
    with pytest.raises(InputError, match="at most 16"):
        WaveletTransform(wave)


def test_both_transforms_share_one_interface():
    x = torch.randn(1, 2, 4, 4)
    assert torch.equal(HaarTransform().dwt(x), haar_dwt(x))
    assert torch.equal(HaarTransform().idwt(haar_dwt(x)), haar_idwt(haar_dwt(x)))


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_matrix_equals_transforms(levels):
    x = bands = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    for _ in range(levels):
        bands = haar_dwt(bands)
    block = 2**levels
    # Pixels of each block, in the order of their rows, as the last dimension.
    blocks = x.view(2, 3, 4 // block, block, 4 // block, block).permute(0, 1, 2, 4, 3, 5).flatten(4)
    expected = bands.view(2, -1, 3, 4 // block, 4 // block)
    torch.testing.assert_close(
        torch.einsum("bs,nchws->nbchw", haar_matrix(levels).double(), blocks), expected
    )


def test_matrices_move_with_the_network_and_stay_out_of_checkpoints():
    transform = HaarTransform().double()
    assert not transform.state_dict()
    assert transform.matrix(2).dtype == torch.float64
    assert torch.equal(transform.matrix(2).float(), haar_matrix(2))
