import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from basicsr_m2trans import Upscaler
from basicsr_m2trans.archs import Bicubic, M2Trans
from basicsr_m2trans.inference.less_memory import NetworkRunner
from basicsr_m2trans.utils.errors import InputError


@pytest.fixture
def net():
    torch.manual_seed(0)
    return M2Trans(2, num_feat=8, num_block=1).eval()


class Grey(nn.Module):
    """Bicubic interpolation that has forgotten all colours."""

    def forward(self, x):
        return Bicubic(2)(x).mean(1, keepdim=True).expand(-1, 3, -1, -1)


def test_tensors_are_what_the_network_makes_of_them(net, device):
    images = torch.rand(2, 3, 20, 33)
    with torch.no_grad():
        expected = net(images)
    upscaler = Upscaler(net, 2, device=device)
    torch.testing.assert_close(upscaler(images), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(upscaler(images[0]), expected[0], atol=1e-5, rtol=0)
    assert upscaler(images.double()).dtype == torch.float64


def test_arrays_in_rgb_are_the_network_to_rounding(net, noise, device):
    image = noise(20, 33, 3)
    with torch.no_grad():
        expected = net(torch.from_numpy(image.transpose(2, 0, 1) / np.float32(255))[None])[0]
    result = Upscaler(net, 2, device=device, colour="rgb")(image)
    assert (result.dtype, result.shape) == (np.uint8, (40, 66, 3))
    assert np.abs(result - expected.numpy().transpose(1, 2, 0) * 255).max() < 0.51


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4), (1, 1, 3)])
def test_type_depth_and_channels_stay(bicubic, noise, dtype, shape):
    image = noise(*shape, dtype=dtype)
    result = bicubic(image)
    assert (result.dtype, result.shape) == (dtype, (shape[0] * 3, shape[1] * 3, *shape[2:]))
    # Luma and colour differences of one interpolation add up to it, but for its overshoot, which is
    # cut.
    difference = np.abs(result.astype(int) - bicubic.bicubic(image).astype(int))
    assert np.median(difference) <= 1


def test_16_bits_keep_their_levels(repeat, repeated, noise):
    image = noise(6, 6, dtype=np.uint16)
    assert np.array_equal(repeat(image), repeated(image))
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_allclose(repeat(values), repeated(values), atol=1e-6)


@pytest.mark.parametrize("colour", ["luma", "rgb"])
@pytest.mark.parametrize(
    ("shape", "dtype"), [((9, 7), np.uint8), ((9, 7, 2), np.uint16), ((9, 7, 4), np.uint8)]
)
def test_arrays_of_one_size_together_are_what_each_is_alone(net, noise, colour, shape, dtype):
    upscaler = Upscaler(net, 2, device="cpu", colour=colour)
    images = [noise(*shape, dtype=dtype) for _ in range(3)]
    together = upscaler.upscale_many(images)
    assert all(
        np.array_equal(result, upscaler(image))
        for result, image in zip(together, images, strict=True)
    )
    for other in (images[0][:5], images[0].astype(np.float32) / 70000):
        with pytest.raises(InputError, match="must have one shape and type"):
            upscaler.upscale_many([*images, other])


def test_tiles_of_several_arrays_are_those_of_each_to_rounding(noise):
    torch.manual_seed(0)
    upscaler = Upscaler(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2)), 2, 1, device="cpu"
    )
    images = [noise(300, 9) for _ in range(3)]
    for result, image in zip(upscaler.upscale_many(images), images, strict=True):
        assert np.abs(result.astype(int) - upscaler(image)).max() <= 1


def test_grey_pictures_in_three_channels_stay_grey(net, noise, device):
    image = noise(12, 12, 1).repeat(3, axis=2)
    upscaler = Upscaler(net, 2, device=device)
    result = upscaler(image)
    assert (result == result[..., :1]).all()
    assert np.array_equal(result[..., 0], upscaler(image[..., 0]))


def test_colours_survive_a_network_that_knows_only_grey():
    image = np.full((8, 8, 3), 60, np.uint8)
    image[2:6, 2:6] = (200, 40, 30)
    assert (
        np.abs(Upscaler(Grey(), 2, device="cpu")(image)[7, 7].astype(int) - (200, 40, 30)).max()
        <= 15
    )
    assert np.ptp(Upscaler(Grey(), 2, device="cpu", colour="rgb")(image)[7, 7].astype(int)) == 0


def test_alpha_is_interpolated(repeat, noise):
    image = noise(6, 5, 4)
    assert np.array_equal(repeat(image)[..., 3], repeat.bicubic(image[..., 3]))


def test_networks_for_grey_images(noise, device):
    torch.manual_seed(0)
    net = M2Trans(2, num_in_ch=1, num_out_ch=1, num_feat=8, num_block=1)
    upscaler = Upscaler(net, 2, 1, device=device, colour="rgb")
    image = noise(9, 9, 3)
    # A GPU computes the three colours at once, and then rounds otherwise.
    difference = np.abs(upscaler(image)[..., 1].astype(int) - upscaler(image[..., 1]))
    assert difference.max() <= (device == "cuda")


def test_self_ensemble_averages_over_flips_and_rotations(net, device):
    image = torch.rand(1, 3, 16, 24, device=device)
    upscaler = Upscaler(net, 2, device=device, self_ensemble=True)
    result = upscaler(image)
    torch.testing.assert_close(upscaler(image.flip(2)).flip(2), result, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        upscaler(image.rot90(1, (2, 3))).rot90(-1, (2, 3)), result, atol=1e-5, rtol=0
    )
    with torch.no_grad():
        views = [net(image.rot90(k, (2, 3))).rot90(-k, (2, 3)) for k in range(4)]
        views += [net(image.flip(3).rot90(k, (2, 3))).rot90(-k, (2, 3)).flip(3) for k in range(4)]
    torch.testing.assert_close(result, sum(views) / 8, atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_reduced_precision_is_near(net, noise, precision, device):
    image = noise(20, 20)
    exact = Upscaler(net, 2, device=device)(image).astype(int)
    assert (
        0 < np.abs(Upscaler(net, 2, device=device, precision=precision)(image) - exact).max() < 16
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    "levels", [np.arange(256, dtype=np.uint8), np.uint16([0, 65535])], ids=["8 bits", "16 bits"]
)
def test_all_levels_of_8_bits_and_white_of_16_survive_reduced_precision(
    repeated, precision, levels, device
):
    """Of whole images, as a GPU gets them."""
    convolution = nn.Conv2d(1, 4, 1, bias=False)
    nn.init.ones_(convolution.weight)
    net = nn.Sequential(convolution, nn.PixelShuffle(2))
    upscaler = Upscaler(net, 2, 1, device=device, precision=precision)
    upscaler._upscale = NetworkRunner(net, 2, print, whole=upscaler.network)
    assert np.array_equal(upscaler(levels[None]), repeated(levels[None]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_results_are_new_arrays_in_the_order_of_rows(repeat, repeated, noise, dtype):
    image = (
        (noise(6, 5, 3) / 255).astype(np.float32)
        if dtype == np.float32
        else noise(6, 5, 3, dtype=dtype)
    )
    for given in (image, image[..., ::-1], image.transpose(1, 0, 2)):
        result = repeat(given)
        np.testing.assert_allclose(result, repeated(given), atol=1e-6)
        assert result.flags.c_contiguous


def test_pillow_images_keep_mode_and_profile(repeat, repeated, noise, profile):
    pixels = noise(5, 6, 3)
    image = Image.fromarray(pixels)
    image.info = {"icc_profile": profile, "comment": "x"}
    result = repeat(image)
    assert np.array_equal(np.asarray(result), repeated(pixels))
    assert result.info == {"icc_profile": profile}
    assert repeat(image.convert("L")).mode == "L"
    assert repeat(image.convert("LA")).mode == "LA"


def test_from_checkpoint(net, tmp_path, noise):
    settings = {"type": "M2Trans", "upscale": 2, "num_feat": 8, "num_block": 1}
    torch.save({"params": net.state_dict(), "network_g": settings}, tmp_path / "net.pth")
    upscaler = Upscaler.from_checkpoint(tmp_path / "net.pth", device="cpu")
    image = noise(10, 11)
    assert np.array_equal(upscaler(image), Upscaler(net, 2, device="cpu")(image))
    assert upscaler.name == "M2Trans x2 (net.pth)"


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 5), np.uint8), r"\(h, w, 1 to 4\), not \(4, 4, 5\)"),
        (np.zeros((0, 4), np.uint8), "not"),
        (np.zeros((4, 4), np.int32), "not int32"),
        (np.full((4, 4), 1.5), r"values in \[0, 1\]"),
        (np.full((4, 4), np.nan), r"values in \[0, 1\]"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), "floating-point numbers"),
        (torch.full((3, 4, 4), 255.0), r"values in \[0, 1\], but these are from 255 to 255"),
        (torch.full((3, 4, 4), torch.nan), r"values in \[0, 1\], but these are from nan to nan"),
        (torch.zeros(1, 4, 4), r"give a tensor \(N, 3, H, W\)"),
        ("image.png", "not a str"),
    ],
    ids=str,
)
def test_refuses_other_images(repeat, image, message):
    with pytest.raises(InputError, match=message):
        repeat(image)


@pytest.mark.parametrize(
    "setting", [{"precision": "int8"}, {"colour": "hsv"}, {"device": "toaster"}]
)
def test_refuses_other_settings(net, setting):
    with pytest.raises(InputError, match=str(next(iter(setting.values())))):
        Upscaler(net, 2, **setting)


def test_unknown_settings_are_named(net):
    with pytest.raises(TypeError, match="no setting precison; it has device, precision, "):
        Upscaler(net, 2, precison="float16")


def test_too_little_memory_names_what_is_needed(net):
    with pytest.raises(InputError, match=r"set it to \d+"):
        Upscaler(net, 2, device="cpu", max_memory=1)(torch.rand(3, 8, 8))


def test_import_loads_neither_transformers_nor_basicsr():
    code = (
        "import sys; from basicsr_m2trans import Upscaler; "
        "print({'transformers', 'basicsr', 'torchvision', 'pydicom', 'av'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"
