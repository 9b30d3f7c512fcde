import cv2
import numpy as np
import pytest

from basicsr_m2trans.data.patch_degradation import PatchDegradation
from basicsr_m2trans.errors import InputError


@pytest.fixture
def patches(random_image):
    return random_image(64, 64, 3), random_image(128, 128, 3)


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_by_default_patches_stay_as_they_are(random_image, dtype):
    lq, gt = random_image(16, 16, 1, dtype=dtype), random_image(32, 32, 1, dtype=dtype)
    changed = PatchDegradation()(lq, gt, rng())
    assert all(np.array_equal(*pair) and pair[0].dtype == dtype for pair in zip(changed, (lq, gt), strict=True))


def test_the_gain_multiplies_both_patches(patches):
    lq, gt = PatchDegradation(gain=[0.25, 0.25])(*patches, rng())
    assert np.array_equal(lq, np.rint(patches[0] / 4))
    assert np.array_equal(gt, np.rint(patches[1] / 4))
    lq, gt = PatchDegradation(gain=[3, 3])(*patches, rng())
    assert np.array_equal(gt, np.minimum(patches[1].astype(int) * 3, 255))


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_is_grey_and_as_strong_as_it_says(channels):
    flat = np.full((256, 256, channels), 32768, np.uint16)
    lq, gt = PatchDegradation(noise_sigma=[0.05, 0.05])(flat, flat, rng())
    noise = (lq.astype(float) - flat) / 65535
    assert np.array_equal(gt, flat)
    assert noise.std() == pytest.approx(0.05, rel=0.02)
    assert abs(noise.mean()) < 0.001
    assert np.array_equal(lq, np.repeat(lq[..., :1], channels, axis=2))


def test_blur_is_a_gaussian_of_the_sigma(patches):
    lq, gt = PatchDegradation(blur_sigma=[1.5, 1.5])(*patches, rng())
    assert np.array_equal(gt, patches[1])
    assert np.abs(lq.astype(float) - cv2.GaussianBlur(patches[0].astype(float), (0, 0), 1.5)).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("channels", [1, 3])
def test_compression_is_jpeg_of_the_quality(random_image, channels):
    lq, gt = random_image(64, 64, channels), random_image(128, 128, channels)
    compressed, same = PatchDegradation(jpeg_quality=[30, 30])(lq, gt, rng())
    data = cv2.imencode(".jpg", lq, [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    assert np.array_equal(compressed, cv2.imdecode(data, cv2.IMREAD_UNCHANGED).reshape(lq.shape))
    assert np.array_equal(same, gt)


def test_strengths_fill_their_ranges_and_the_probability_holds():
    flat = np.full((4, 4, 1), 200, np.uint8)
    generator = rng()
    degrade = PatchDegradation(probability=0.25, gain=[0.5, 0.9])
    levels = np.array([degrade(flat, flat, generator)[1][0, 0, 0] for _ in range(2000)])
    changed = levels[levels != 200]
    assert len(changed) / 2000 == pytest.approx(0.25, abs=0.03)
    assert (changed.min(), changed.max()) == (100, 180)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probability": 1.5}, "probability is 1.5; write a number from 0 to 1"),
        ({"gain": 2}, "gain is 2; write a list of two numbers from 0.001 to 1000"),
        ({"blur_sigma": [1, 0]}, r"blur_sigma is \[1, 0\]; .*, the smaller one first"),
        ({"noise_sigma": [0, "0.1"]}, r"noise_sigma is \[0, '0.1'\]; write a list of two numbers from 0 to 1"),
        ({"jpeg_quality": [30.5, 90]}, r"jpeg_quality is \[30.5, 90\]; write .* two whole numbers from 1 to 100"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        PatchDegradation(**options)
