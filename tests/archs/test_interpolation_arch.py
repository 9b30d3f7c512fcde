import pytest
import torch

from basicsr_m2trans import compat
from basicsr_m2trans.archs import Bicubic
from basicsr_m2trans.utils.errors import InputError

compat.apply()

from basicsr.utils.matlab_functions import imresize  # noqa: E402


@pytest.mark.parametrize("upscale", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(17, 24), (3, 5)])
def test_equals_matlab_style_imresize(upscale, size):
    images = torch.rand(2, 3, *size)
    expected = torch.stack([imresize(image, upscale) for image in images]).clamp(0, 1)
    torch.testing.assert_close(Bicubic(upscale)(images), expected, atol=1e-5, rtol=0)


def test_one_pixel():
    assert torch.allclose(Bicubic(4)(torch.full((1, 1, 1, 1), 0.3)), torch.full((1, 1, 4, 4), 0.3))


@pytest.mark.parametrize("upscale", [0, 1.5])
def test_wrong_upscale(upscale):
    with pytest.raises(InputError, match="upscale"):
        Bicubic(upscale)
