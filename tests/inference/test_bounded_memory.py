"""Strips against the forward of the whole image."""

import re
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.inference import bounded_memory, upscale_image, upscale_in_strips
from basicsr_m2trans.utils.errors import InputError

HYBRID = {
    "norm": "none",
    "bias": False,
    "num_res_block": 2,
    "reconstruction": "conv",
    "global_skip": True,
}
SIZES = [(1, 1), (7, 45), (64, 32), (35, 200), (390, 33), (161, 97)]


def network(upscale=2, num_block=2, **settings):
    torch.manual_seed(0)
    net = M2Trans(upscale, num_feat=8, num_block=num_block, **settings)
    last = [layer for layer in net.tail if isinstance(layer, torch.nn.Conv2d)][-1]
    torch.nn.init.normal_(last.weight, std=0.1)
    return net


@pytest.fixture(params=[32, 96])
def longest_strip(request, monkeypatch):
    monkeypatch.setattr(bounded_memory, "LONGEST_STRIP", request.param)


@pytest.mark.usefixtures("longest_strip")
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"fast": False},
        {"wavelet": "none"},
        {"global_skip": True},
        HYBRID,
        HYBRID | {"fast": False},
    ],
    ids=str,
)
def test_equals_the_whole_image(size, settings, device):
    net = network(**settings).to(device).double()
    images = torch.rand(1, 3, *size, dtype=torch.float64, device=device)
    with torch.no_grad():
        torch.testing.assert_close(upscale_image(net, images), net(images), atol=1e-11, rtol=0)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.tuples(st.integers(1, 150), st.integers(1, 150)), st.sampled_from([2, 3, 4]))
def test_any_size_equals_the_whole_image(monkeypatch, size, upscale):
    monkeypatch.setattr(bounded_memory, "LONGEST_STRIP", 32)
    net = network(upscale, num_block=1).double()
    images = torch.rand(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(upscale_image(net, images), net(images), atol=1e-11, rtol=0)


@pytest.mark.parametrize("upscale", [2, 3, 4])
@pytest.mark.parametrize(
    "settings",
    [{}, {"num_in_ch": 1, "num_out_ch": 4, "img_range": 255.0}, {"global_skip": True}, HYBRID],
    ids=str,
)
def test_batches_scales_channels_and_range(upscale, settings, monkeypatch):
    monkeypatch.setattr(bounded_memory, "LONGEST_STRIP", 32)
    net = network(upscale, **settings).double()
    # Larger than a tile of the reconstruction in both directions.
    images = torch.rand(2, net.head.in_channels, 70, 150, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(upscale_image(net, images), net(images), atol=1e-10, rtol=0)


def test_float32_of_the_published_size_agrees_to_1e_5(device):
    torch.manual_seed(0)
    net = M2Trans(4).to(device)
    images = torch.rand(1, 3, 120, 170, device=device)
    with torch.no_grad():
        torch.testing.assert_close(upscale_image(net, images), net(images), atol=1e-5, rtol=0)


def test_bfloat16_autocast_stays_as_close_as_the_whole_image(device):
    net = network(4).to(device)
    images = torch.rand(1, 3, 100, 70, device=device)
    with torch.no_grad():
        expected = net(images)
        with torch.autocast(device, torch.bfloat16):
            whole, strips = net(images), upscale_image(net, images)
    assert strips.dtype == torch.float32
    assert (strips - expected).abs().mean() < 1.5 * (whole - expected).abs().mean()


def test_strips_follow_each_other_from_top_to_bottom():
    net = network(3)
    image = torch.rand(3, 150, 40)
    strips = list(upscale_in_strips(net, image))
    assert [strip.shape for strip in strips] == [(3, 192, 120), (3, 192, 120), (3, 66, 120)]
    assert not any(strip.requires_grad for strip in strips)
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(strips, dim=1), net(image[None])[0], atol=1e-5, rtol=0)


def test_less_memory_means_shorter_strips_until_it_is_refused():
    net, images = M2Trans(4, num_block=1), torch.empty(1, 3, 768, 1024, device="meta")
    lengths = [
        bounded_memory._strip_length(net, images, memory) for memory in (480, 520, 600, 2048)
    ]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1] == 256
    with pytest.raises(
        InputError, match=r"max_memory is 100 MiB, but 1024x768 pixels need (\d+)"
    ) as refused:
        upscale_in_strips(net, images[0], max_memory=100)
    least = int(re.search(r"set it to (\d+)", str(refused.value))[1])
    assert bounded_memory._strip_length(net, images, least) == 32
    with pytest.raises(InputError):
        bounded_memory._strip_length(net, images, least - 1)
    # 144 MiB are the result itself.
    with pytest.raises(InputError, match=f"set it to {least + 144}"):
        upscale_image(net, images, max_memory=least)


@pytest.mark.parametrize("shape", [(1, 3, 8), (3, 8, 8), (1, 4, 8, 8), (1, 3, 0, 8)])
def test_refuses_images_of_another_shape(shape):
    with pytest.raises(InputError, match="images must"):
        upscale_image(network(), torch.rand(shape))


def test_refuses_integers_long_wavelets_and_other_networks():
    with pytest.raises(InputError, match="upscale_in_tiles for Identity"):
        upscale_image(torch.nn.Identity(), torch.rand(1, 3, 8, 8))
    with pytest.raises(InputError, match=r"floating-point.*uint8"):
        upscale_in_strips(network(), torch.zeros(3, 8, 8, dtype=torch.uint8))
    with pytest.raises(InputError, match="upscale_in_tiles"):
        upscale_in_strips(network(wavelet="db2"), torch.rand(3, 8, 8))


# ru_maxrss would not do: a child begins with its parent's.
PEAK = """
import re, sys, torch
from pathlib import Path
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.inference import upscale_image
def mebibytes(key):
    return int(re.search(key + r":\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
hybrid = {"norm": "none", "num_res_block": 24, "reconstruction": "conv"}
settings = hybrid if sys.argv[2] == "hybrid" else {}
net, images = M2Trans(2, num_block=1, **settings), torch.rand(1, 3, 512, 512)
before = mebibytes("VmRSS")
upscale_image(net, images, max_memory=int(sys.argv[1]))
print(mebibytes("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("max_memory", "settings"), [(300, "paper"), (480, "paper"), (480, "hybrid")]
)
def test_peak_stays_below_the_setting(max_memory, settings):
    command = [sys.executable, "-c", PEAK, str(max_memory), settings]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert max_memory / 3 < float(result.stdout) < max_memory
