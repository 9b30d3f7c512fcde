"""What happens where a whole image does not fit into a GPU's memory, which networks of limited size
imitate.
"""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from basicsr_m2trans import Upscaler
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.inference import less_memory, upscale_image
from basicsr_m2trans.inference.less_memory import NetworkRunner
from basicsr_m2trans.utils.errors import InputError


class LimitedM2Trans(M2Trans):
    """M2Trans whose forward of whole images has memory for 32x32 pixels only."""

    def forward(self, x):
        return super().forward(limited(x, 32))


class LimitedLocal(nn.Module):
    """Bilinear interpolation that has memory for tiles only; counts its calls."""

    def __init__(self, side):
        super().__init__()
        self.side, self.calls = side, 0

    def forward(self, x):
        self.calls += 1
        return nn.functional.interpolate(limited(x, self.side), scale_factor=2, mode="bilinear")


def limited(x, side):
    if max(x.shape[-2:]) > side:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return x


def without_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory")


def limited_m2trans(**settings):
    torch.manual_seed(0)
    return LimitedM2Trans(2, num_feat=8, num_block=1, **settings).eval()


def test_an_image_that_fits_is_computed_whole_and_nothing_is_said():
    net, notes, images = limited_m2trans(), [], torch.rand(1, 3, 20, 32)
    result = NetworkRunner(net, 2, notes.append, whole=net)(images)
    with torch.no_grad():
        assert torch.equal(result, net(images))
    assert notes == []


def test_m2trans_is_computed_again_in_strips():
    net, notes, images = limited_m2trans(), [], torch.rand(1, 3, 20, 33)
    with torch.no_grad():
        result = NetworkRunner(net, 2, notes.append, whole=net)(images)
    assert torch.equal(result, upscale_image(net, images))
    assert notes == [
        "33x20 pixels do not fit into the GPU's memory; computed in strips (the same result, to "
        "rounding)"
    ]


def test_images_that_do_not_fit_together_are_computed_one_by_one():
    def at_most_one(images):
        if len(images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return net(images)

    net, notes, images = limited_m2trans(), [], torch.rand(2, 3, 20, 32)
    runner = NetworkRunner(net, 2, notes.append, whole=at_most_one)
    with torch.no_grad():
        expected = torch.cat([net(image) for image in images.split(1)])
        for _ in range(2):
            assert torch.equal(runner(images), expected)
    assert notes == [
        "2 images of 32x20 pixels do not fit into the GPU's memory; computed one by one"
    ]


@pytest.mark.parametrize("count", [1, 3])
def test_what_does_not_fit_compiled_is_computed_without(count):
    net, notes, images = limited_m2trans(), [], torch.rand(count, 3, 20, 32)
    with torch.no_grad():
        result = NetworkRunner(net, 2, notes.append, whole=without_memory)(images)
        assert torch.equal(result, torch.cat([net(image) for image in images.split(1)]))
    assert [note.partition("computed ")[2] for note in notes] == [
        "one by one" if count > 1 else "without compilation"
    ]


def test_after_strips_that_max_memory_refuses_tiles_follow(monkeypatch):
    monkeypatch.setattr(
        less_memory, "upscale_in_tiles", lambda _, images, upscale: images * upscale
    )
    net, notes, images = limited_m2trans(), [], torch.rand(1, 3, 20, 33)
    runner = NetworkRunner(net, 2, notes.append, whole=net, max_memory=1)
    for _ in range(2):
        assert torch.equal(runner(images), images * 2)
    assert notes == [
        "33x20 pixels do not fit into the GPU's memory; computed in tiles (nearly the same result)"
    ]


def test_max_memory_is_that_of_the_strips():
    net = limited_m2trans()
    with pytest.raises(InputError, match="max_memory is 1 MiB"):
        NetworkRunner(net, 2, print, max_memory=1)(torch.rand(1, 3, 8, 8))


def test_tiles_come_last(monkeypatch):
    monkeypatch.setattr(less_memory, "upscale_image", without_memory)
    monkeypatch.setattr(
        less_memory, "upscale_in_tiles", lambda _, images, upscale: images * upscale
    )
    net, notes, images = limited_m2trans(), [], torch.rand(1, 3, 12, 34)
    assert torch.equal(NetworkRunner(net, 2, notes.append, whole=net)(images), images * 2)
    assert notes == [
        "34x12 pixels do not fit into the GPU's memory; computed in tiles (nearly the same result)"
    ]


@pytest.mark.parametrize(
    "net", [LimitedLocal(224), limited_m2trans(wavelet="db2")], ids=["local", "long wavelet"]
)
def test_what_cannot_be_computed_in_strips_is_tiled(net, monkeypatch):
    monkeypatch.setattr(
        less_memory, "upscale_in_tiles", lambda _, images, upscale: images * upscale
    )
    notes, images = [], torch.rand(1, 3, 300, 10)
    assert torch.equal(NetworkRunner(net, 2, notes.append, whole=net)(images), images * 2)
    assert notes == [
        "10x300 pixels do not fit into the GPU's memory; computed in tiles (nearly the same result)"
    ]


def test_a_shape_that_did_not_fit_is_not_tried_whole_again():
    net, notes = LimitedLocal(224), []
    runner = NetworkRunner(net, 2, notes.append, whole=net)
    calls = []
    for height in (400, 400, 300, 20):
        net.calls = 0
        runner(torch.rand(1, 3, height, 10))
        calls.append(net.calls)
    assert calls == [1 + 3, 3, 1 + 2, 1]
    assert len(notes) == 2


def test_what_does_not_fit_at_all_is_an_error():
    net = LimitedLocal(8)
    with pytest.raises(torch.OutOfMemoryError):
        NetworkRunner(net, 2, lambda _: None, whole=net)(torch.rand(1, 3, 9, 9))


def test_an_upscaler_warns(noise):
    """As on a GPU; on the CPU M2Trans is computed in strips at once, without a warning."""
    net, image = limited_m2trans(), noise(20, 40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = Upscaler(net, 2, device="cpu")(image)
    upscaler = Upscaler(net, 2, device="cpu")
    upscaler._upscale = NetworkRunner(net, 2, warnings.warn, whole=net)
    with pytest.warns(UserWarning, match="40x20 pixels do not fit"):
        assert np.array_equal(upscaler(image), expected)
