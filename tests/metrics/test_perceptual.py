"""FSIM and GMSD against piq itself, and BasicSR's conventions around them."""

import numpy as np
import pytest
import torch

from basicsr_m2trans import compat
from basicsr_m2trans.metrics import calculate_fsim, calculate_gmsd
from basicsr_m2trans.utils.errors import InputError

METRICS = (calculate_fsim, calculate_gmsd)


@pytest.fixture(scope="module")
def piq():
    compat.declare_torchvision_operators()
    import piq

    return piq


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A smooth BGR image with different channels, and a noisy copy; noise is strongest in the
    border.
    """
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:72, :90]
    waves = np.stack([np.sin(rows / 5), np.cos(columns / 7), np.sin((rows + columns) / 9)], axis=2)
    image = np.rint(127 + 100 * waves)
    noise = rng.normal(0, 8, image.shape)
    noise[:4] *= 5
    return image.astype(np.uint8), np.clip(image + noise, 0, 255).astype(np.uint8)


def rgb(image: np.ndarray) -> torch.Tensor:
    return torch.tensor(image[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255


def luma(image: np.ndarray) -> torch.Tensor:
    blue, green, red = (image[..., channel] / 255 for channel in range(3))
    return torch.tensor((16 + 65.481 * red + 128.553 * green + 24.966 * blue) / 255)[
        None, None
    ].float()


def test_colour_images_give_the_values_of_piq(piq, pair):
    x, y = map(rgb, pair)
    assert calculate_fsim(*pair, crop_border=0) == pytest.approx(piq.fsim(x, y).item(), abs=1e-6)
    assert calculate_gmsd(*pair, crop_border=0) == pytest.approx(piq.gmsd(x, y).item(), abs=1e-6)


@pytest.mark.parametrize("axis", [(), (2,)])
def test_grey_images_give_the_values_of_piq(piq, pair, axis):
    grey = [np.expand_dims(image[..., 0], axis) for image in pair]
    x, y = (torch.tensor(image[..., 0])[None, None].float() / 255 for image in pair)
    assert calculate_fsim(*grey, crop_border=0) == pytest.approx(
        piq.fsim(x, y, chromatic=False).item(), abs=1e-6
    )
    assert calculate_gmsd(*grey, crop_border=0) == pytest.approx(piq.gmsd(x, y).item(), abs=1e-6)


def test_luma_is_compared_on_request(piq, pair):
    x, y = map(luma, pair)
    fsim = calculate_fsim(*pair, crop_border=0, test_y_channel=True)
    assert fsim == pytest.approx(piq.fsim(x, y, chromatic=False).item(), abs=1e-6)
    assert abs(fsim - calculate_fsim(*pair, crop_border=0)) > 1e-3
    gmsd = calculate_gmsd(*pair, crop_border=0, test_y_channel=True)
    assert gmsd == pytest.approx(piq.gmsd(x, y).item(), abs=1e-6)
    assert abs(gmsd - calculate_gmsd(*pair, crop_border=0)) > 1e-3


def test_luma_equals_that_of_basicsr(pair):
    compat.apply()
    from basicsr.metrics.metric_util import to_y_channel

    stock = [to_y_channel(image) for image in pair]
    for metric in METRICS:
        assert metric(*pair, 0, test_y_channel=True) == pytest.approx(metric(*stock, 0), abs=1e-6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("test_y_channel", [False, True])
def test_grey_images_have_no_luma_to_take(metric, test_y_channel, pair):
    grey = [image[..., :1] for image in pair]
    assert metric(*grey, 0, test_y_channel=test_y_channel) == metric(*grey, 0)


@pytest.mark.parametrize("test_y_channel", [False, True])
def test_equal_images(pair, test_y_channel):
    image = pair[0]
    assert calculate_fsim(image, image, 0, test_y_channel=test_y_channel) == pytest.approx(
        1, abs=1e-6
    )
    assert calculate_gmsd(image, image, 0, test_y_channel=test_y_channel) == pytest.approx(
        0, abs=1e-6
    )


@pytest.mark.parametrize("metric", METRICS)
def test_border_is_cropped_on_all_sides(metric, pair):
    cropped = [image[4:-4, 4:-4] for image in pair]
    value = metric(*pair, crop_border=4)
    assert value == metric(*cropped, crop_border=0)
    assert abs(value - metric(*pair, crop_border=0)) > 1e-3


@pytest.mark.parametrize("metric", METRICS)
def test_channel_order_matters_and_bgr_is_expected(metric, pair):
    swapped = [image[..., ::-1] for image in pair]
    assert abs(metric(*pair, 0) - metric(*swapped, 0)) > 1e-4


@pytest.mark.parametrize("metric", METRICS)
def test_channels_first(metric, pair):
    first = [image.transpose(2, 0, 1) for image in pair]
    assert metric(*first, 2, input_order="CHW") == metric(*pair, 2)
    plane = [image[..., 1] for image in pair]
    assert metric(*plane, 2, input_order="CHW") == metric(*plane, 2)


@pytest.mark.parametrize("metric", METRICS)
def test_options_of_basicsr_are_passed_over(metric, pair):
    data = {"img": pair[1], "img2": pair[0]}
    assert metric(**data, crop_border=2, better="higher") == metric(pair[1], pair[0], 2)


@pytest.mark.parametrize("metric", METRICS)
def test_smallest_size(metric, pair):
    assert 0 <= metric(pair[0][:16, :16], pair[1][:16, :16], 0) <= 1
    with pytest.raises(InputError, match="15x16 pixels with crop_border 0"):
        metric(pair[0][:15, :16], pair[1][:15, :16], 0)
    with pytest.raises(InputError, match="72x90 pixels with crop_border 30"):
        metric(*pair, 30)


@pytest.mark.parametrize("metric", METRICS)
def test_what_cannot_be_compared_is_named(metric, pair):
    image = pair[0]
    with pytest.raises(InputError, match=r"\(72, 90, 3\) and \(71, 90, 3\)"):
        metric(image, image[1:], 0)
    with pytest.raises(InputError, match=r"image of shape \(72, 90, 2\)"):
        metric(image[..., :2], image[..., :2], 0)
    with pytest.raises(InputError, match=r"image of shape \(1, 72, 90, 3\)"):
        metric(image[None], image[None], 0, input_order="CHW")
    with pytest.raises(InputError, match="input_order 'HCW'"):
        metric(image, image, 0, input_order="HCW")
    with pytest.raises(InputError, match="crop_border is -1"):
        metric(image, image, -1)
    for value in (-1, 256):
        outside = np.where(image == image.max(), value, image.astype(float))
        with pytest.raises(InputError, match="values in"):
            metric(outside, outside, 0)
    full = np.where(image == image.max(), 255, np.where(image == image.min(), 0, image))
    assert np.isfinite(metric(full, full, 0))
    with pytest.raises(InputError, match="nan"):
        metric(image * np.nan, image * np.nan, 0)
