import numpy as np
import pytest

from basicsr_m2trans import compat
from basicsr_m2trans.apps.preparation.degradation import downsample_bicubic


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_basicsrs_imresize_rounded(random_image, scale, channels):
    compat.apply()
    from basicsr.utils.matlab_functions import imresize

    image = random_image(36, 24, channels)
    expected = (imresize(image.astype(np.float32) / 255, 1 / scale).clip(0, 1) * 255).round()
    small = downsample_bicubic(image, scale)
    assert small.shape == (36 // scale, 24 // scale, channels)
    assert small.dtype == np.uint8
    assert np.array_equal(small, expected)


def test_flat_images_stay_flat():
    assert np.unique(downsample_bicubic(np.full((24, 24, 3), 77, np.uint8), 4)).tolist() == [77]
