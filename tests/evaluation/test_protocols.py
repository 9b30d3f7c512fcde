"""Both protocols against formulas written down independently."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate

from basicsr_m2trans import register
from basicsr_m2trans.evaluation.protocols import (
    METRICS,
    PROTOCOLS,
    paper_protocol,
    paper_psnr,
    standard_protocol,
)
from basicsr_m2trans.metrics import calculate_fsim, calculate_gmsd


@pytest.fixture(scope="module", autouse=True)
def _registered():
    register()


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth RGB image on the 8-bit grid as HR, and a noisy float copy as SR."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:60, :72]
    waves = np.stack([np.sin(rows / 5), np.cos(columns / 7), np.sin((rows + columns) / 9)])
    hr = np.rint(127 + 60 * waves) / 255
    sr = np.clip(hr + rng.normal(0, 0.03, hr.shape), 0, 1)
    return tuple(torch.tensor(image, dtype=torch.float32)[None] for image in (sr, hr))


def luma(image: np.ndarray) -> np.ndarray:
    """ITU-R BT.601 luma in [16, 235] of RGB (3, H, W) in [0, 1]."""
    return 16 + 65.481 * image[0] + 128.553 * image[1] + 24.966 * image[2]


def psnr(x: np.ndarray, y: np.ndarray) -> float:
    return 20 * np.log10(255) - 10 * np.log10(((x - y) ** 2).mean())


def ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. (2004): Gaussian window of 11 x 11, sigma 1.5, its full overlap only."""
    distance = np.arange(11) - 5
    window = np.exp(-(distance[:, None] ** 2 + distance**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(image: np.ndarray) -> np.ndarray:
        return correlate(image, window)[5:-5, 5:-5]

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return ((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()


@pytest.mark.parametrize("scale", [2, 3])
def test_paper_protocol_is_float_with_shifted_luma(pair, scale):
    scores = paper_protocol(*pair, scale)
    x, y = (luma(image[0].double().numpy())[scale:-scale, scale:-scale] for image in pair)
    assert scores["psnr"] == pytest.approx(psnr(x, y), abs=1e-4)
    assert paper_psnr(*pair, scale) == scores["psnr"]
    # The authors' luma: divided by 255 twice, then the offset of 16, then scaled to 255.
    x, y = (((image - 16) / 255 + 16) * 255 for image in (x, y))
    assert scores["ssim"] == pytest.approx(ssim(x, y), abs=1e-6)


@pytest.mark.parametrize("scale", [2, 3])
def test_standard_protocol_rounds_to_8_bits(pair, scale):
    scores = standard_protocol(*pair, scale)
    rounded = [(image[0].double() * 255).round().numpy() / 255 for image in pair]
    x, y = (luma(image)[scale:-scale, scale:-scale] for image in rounded)
    assert scores["psnr"] == pytest.approx(psnr(x, y), abs=1e-4)
    assert scores["ssim"] == pytest.approx(ssim(x, y), abs=1e-6)


def test_fsim_and_gmsd_see_the_whole_rgb_image(pair):
    bgr = [image[0].flip(0).permute(1, 2, 0).numpy() * 255 for image in pair]
    for measure, rounded in ((standard_protocol, True), (paper_protocol, False)):
        images = [
            np.rint(image).astype(np.uint8) if rounded else image.clip(0, 255) for image in bgr
        ]
        scores = measure(*pair, 2)
        assert scores["fsim"] == pytest.approx(calculate_fsim(*images, crop_border=0), abs=1e-6)
        assert scores["gmsd"] == pytest.approx(calculate_gmsd(*images, crop_border=0), abs=1e-6)


def test_the_paper_reads_ssim_higher(pair):
    """Without its luminance term SSIM cannot be lower."""
    assert paper_protocol(*pair, 2)["ssim"] > standard_protocol(*pair, 2)["ssim"]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_values_outside_the_range_are_clamped(pair, name):
    sr, hr = pair
    wild = torch.where(sr > 0.6, sr + 1, sr)
    assert PROTOCOLS[name](wild, hr, 2) == PROTOCOLS[name](wild.clamp(0, 1), hr, 2)


@pytest.mark.gpu
@pytest.mark.parametrize("name", PROTOCOLS)
def test_images_may_lie_on_a_gpu(pair, name):
    assert PROTOCOLS[name](*(image.cuda() for image in pair), 2) == PROTOCOLS[name](*pair, 2)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_equal_images(pair, name):
    scores = PROTOCOLS[name](pair[1], pair[1], 2)
    assert tuple(sorted(scores)) == tuple(sorted(METRICS))
    assert scores["psnr"] == float("inf")
    assert [scores[key] for key in ("ssim", "fsim", "gmsd")] == pytest.approx([1, 1, 0], abs=1e-6)
