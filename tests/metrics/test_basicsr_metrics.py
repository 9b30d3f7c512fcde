"""The replaced parts of BasicSR's PSNR and SSIM against BasicSR's own, which the fixture keeps."""

import types

import numpy as np
import pytest

from basicsr_m2trans import compat, register
from basicsr_m2trans.metrics import basicsr_metrics


@pytest.fixture(scope="module")
def stock() -> types.ModuleType:
    """BasicSR's module of metrics as its file has it, beside the one that `register()` changes."""
    compat.apply()
    import importlib.util

    from basicsr.metrics import psnr_ssim
    from basicsr.utils import registry

    spec = importlib.util.spec_from_file_location("stock_psnr_ssim", psnr_ssim.__file__)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "METRIC_REGISTRY", registry.Registry("metrics of another copy"))
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def accelerated() -> types.ModuleType:
    register()
    from basicsr.metrics import psnr_ssim

    return psnr_ssim


def pair(height: int, width: int, noise: float, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """An image with a dark half, bright waves and different channels, and a noisy copy."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    waves = [
        127 + 120 * np.sin(rows / (3 + channel)) * np.cos(columns / 7)
        for channel in range(channels)
    ]
    image = np.where(columns[..., None] < width // 2, 0, np.stack(waves, axis=2))
    noisy = image + rng.normal(0, noise, image.shape)
    return tuple(np.rint(value).clip(0, 255).astype(np.uint8) for value in (image, noisy))


@pytest.mark.parametrize("noise", [0.5, 5, 60])
@pytest.mark.parametrize("size", [(96, 128), (61, 47), (25, 25)])
@pytest.mark.parametrize("crop_border", [0, 3])
@pytest.mark.parametrize("test_y_channel", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_values_are_those_of_basicsr(
    stock, accelerated, noise, size, crop_border, test_y_channel, channels
):
    images = pair(*size, noise, channels)
    for name in ("calculate_psnr", "calculate_ssim"):
        values = [
            getattr(module, name)(*images, crop_border, test_y_channel=test_y_channel)
            for module in (stock, accelerated)
        ]
        assert values[1] == pytest.approx(values[0], abs=1e-6), name


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_channels_first_and_other_types(stock, accelerated, dtype):
    images = [image.transpose(2, 0, 1).astype(dtype) for image in pair(40, 50, 10)]
    for name in ("calculate_psnr", "calculate_ssim"):
        values = [
            getattr(module, name)(*images, 2, input_order="CHW", test_y_channel=True)
            for module in (stock, accelerated)
        ]
        assert values[1] == pytest.approx(values[0], abs=1e-6)


def test_luma_is_that_of_basicsr_to_rounding(stock):
    colours = np.stack(np.meshgrid(*[np.arange(0, 256, 5, dtype=np.uint8)] * 3), axis=-1).reshape(
        52, -1, 3
    )
    values = basicsr_metrics.luma(colours)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, stock.to_y_channel(colours), rtol=1e-7, atol=0)
    grey = colours[..., :1]
    np.testing.assert_array_equal(basicsr_metrics.luma(grey), stock.to_y_channel(grey))


def test_equal_images(accelerated):
    image, _ = pair(32, 32, 0)
    assert accelerated.calculate_ssim(image, image, 0, test_y_channel=True) == pytest.approx(
        1, abs=1e-12
    )
    assert accelerated.calculate_psnr(image, image, 0, test_y_channel=True) == float("inf")


@pytest.mark.parametrize("size", [(11, 11), (74, 11), (75, 40), (139, 12)])
def test_ssim_at_the_edges_of_its_bands(stock, size):
    images = [image[..., 0].astype(np.float64) for image in pair(*size, 5)]
    assert basicsr_metrics.ssim_of_channel(*images) == pytest.approx(
        stock._ssim(*images), abs=1e-12
    )


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_images_smaller_than_the_window_have_no_ssim(stock):
    images = [image[..., 0].astype(np.float64) for image in pair(10, 40, 5)]
    assert np.isnan(stock._ssim(*images))
    assert np.isnan(basicsr_metrics.ssim_of_channel(*images))


def test_options_reach_the_accelerated_functions():
    """`calculate_metric`, which validation calls, runs the replaced parts; the registered functions
    stay BasicSR's.
    """
    register()
    from basicsr.metrics import calculate_metric, psnr_ssim
    from basicsr.utils.registry import METRIC_REGISTRY

    called = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            psnr_ssim,
            "to_y_channel",
            lambda image: called.append("luma") or basicsr_metrics.luma(image),
        )
        images = pair(32, 32, 5)
        calculate_metric(
            {"img": images[0], "img2": images[1]},
            {"type": "calculate_ssim", "crop_border": 0, "test_y_channel": True},
        )
    assert called == ["luma", "luma"]
    assert psnr_ssim._ssim is basicsr_metrics.ssim_of_channel
    assert METRIC_REGISTRY.get("calculate_ssim").__module__ == "basicsr.metrics.psnr_ssim"
