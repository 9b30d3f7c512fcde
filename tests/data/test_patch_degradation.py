import cv2
import numpy as np
import pytest

from basicsr_m2trans.data.patch_degradation import PatchDegradation
from basicsr_m2trans.utils.errors import InputError


@pytest.fixture
def patches(random_image):
    return random_image(64, 64, 3), random_image(128, 128, 3)


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_by_default_patches_keep_their_values(random_image, dtype):
    patches = random_image(16, 16, 1, dtype=dtype), random_image(32, 32, 1, dtype=dtype)
    for patch, same in zip(patches, PatchDegradation()(*patches, rng()), strict=True):
        np.testing.assert_allclose(same, patch / np.iinfo(dtype).max, rtol=1e-6)
    assert all(map(np.array_equal, patches, PatchDegradation(probability=0.0)(*patches, rng())))


def test_the_gain_multiplies_both_patches(patches):
    """Without rounding: a dim patch keeps all levels."""
    for patch, dim in zip(
        patches, PatchDegradation(gain=[0.03, 0.03])(*patches, rng()), strict=True
    ):
        assert dim.dtype == np.float32
        np.testing.assert_allclose(dim, patch / 255 * 0.03, rtol=1e-6)
    gt = PatchDegradation(gain=[3, 3])(*patches, rng())[1]
    np.testing.assert_allclose(gt, np.minimum(patches[1] / 255 * 3, 1), rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_is_grey_and_as_strong_as_it_says(channels):
    flat = np.full((256, 256, channels), 32768, np.uint16)
    lq, gt = PatchDegradation(noise_sigma=[0.05, 0.05])(flat, flat, rng())
    noise = lq - flat / 65535
    np.testing.assert_allclose(gt, flat / 65535, rtol=1e-6)
    assert noise.std() == pytest.approx(0.05, rel=0.02)
    assert abs(noise.mean()) < 0.001
    assert np.array_equal(lq, np.repeat(lq[..., :1], channels, axis=2))


def test_blur_is_a_gaussian_of_the_sigma(patches):
    lq, gt = PatchDegradation(blur_sigma=[1.5, 1.5])(*patches, rng())
    np.testing.assert_allclose(gt, patches[1] / 255, rtol=1e-6)
    np.testing.assert_allclose(lq, cv2.GaussianBlur(patches[0] / 255, (0, 0), 1.5), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_compression_is_jpeg_of_the_quality(random_image, channels):
    lq, gt = random_image(64, 64, channels), random_image(128, 128, channels)
    compressed, same = PatchDegradation(jpeg_quality=[30, 30])(lq, gt, rng())
    data = cv2.imencode(".jpg", lq, [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    expected = cv2.imdecode(data, cv2.IMREAD_UNCHANGED).reshape(lq.shape)
    np.testing.assert_allclose(compressed, expected / 255, rtol=1e-6)
    np.testing.assert_allclose(same, gt / 255, rtol=1e-6)


def test_strengths_fill_their_ranges_and_the_probability_holds():
    flat = np.full((4, 4, 1), 255, np.uint8)
    generator = rng()
    degrade = PatchDegradation(probability=0.25, gain=[0.03, 0.9])
    gains = [
        gt[0, 0, 0]
        for _ in range(4000)
        if (gt := degrade(flat, flat, generator)[1]).dtype == np.float32
    ]
    assert len(gains) / 4000 == pytest.approx(0.25, abs=0.03)
    assert min(gains) == pytest.approx(0.03, rel=0.02)
    assert max(gains) == pytest.approx(0.9, rel=0.02)
    # Uniform on a logarithmic scale: half of them lie below the geometric mean.
    assert np.median(gains) == pytest.approx((0.03 * 0.9) ** 0.5, rel=0.15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probability": 1.5}, "probability is 1.5; write a number from 0 to 1"),
        ({"gain": 2}, "gain is 2; write a list of two numbers from 0.001 to 1000"),
        ({"blur_sigma": [1, 0]}, r"blur_sigma is \[1, 0\]; .*, the smaller one first"),
        (
            {"noise_sigma": [0, "0.1"]},
            r"noise_sigma is \[0, '0.1'\]; write a list of two numbers from 0 to 1",
        ),
        (
            {"jpeg_quality": [30.5, 90]},
            r"jpeg_quality is \[30.5, 90\]; write .* two whole numbers from 1 to 100",
        ),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        PatchDegradation(**options)
