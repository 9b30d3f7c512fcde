"""Tiles against the whole image."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import basicsr_m2trans
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.inference import tiling_difference, upscale_in_tiles
from basicsr_m2trans.inference.tiles import Tiled
from basicsr_m2trans.utils.errors import InputError


def local_network(upscale=2, depth=3):
    """Plain 3x3 convolutions that see `depth` pixels around each."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 3, 3, padding=1) for _ in range(depth - 1)]
    return nn.Sequential(
        *layers, nn.Conv2d(3, 3 * upscale**2, 3, padding=1), nn.PixelShuffle(upscale)
    ).double()


@pytest.mark.parametrize("size", [(1, 1), (5, 70), (33, 16), (64, 47)], ids=str)
@pytest.mark.parametrize("upscale", [1, 3])
def test_exact_where_the_overlap_covers_the_reach(size, upscale, device):
    net = local_network(upscale).to(device)
    images = torch.rand(2, 3, *size, dtype=torch.float64, device=device)
    out = upscale_in_tiles(net, images, upscale, tile=16, overlap=3)
    torch.testing.assert_close(out, net(images), atol=1e-12, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.sampled_from([1, 2, 3]),
    st.integers(16, 70),
    st.integers(2, 20),
)
def test_any_size_tile_and_overlap_that_covers_the_reach_are_exact(size, upscale, tile, overlap):
    net = local_network(upscale, depth=2)
    images = torch.rand(1, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(
        upscale_in_tiles(net, images, upscale, tile, overlap), net(images), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("tile", [15, "64", 20.0])
def test_a_tile_is_a_whole_number_of_at_least_16(tile):
    with pytest.raises(InputError, match="tile must be a whole number of at least 16, but is"):
        Tiled(nn.Identity(), 1, tile)


def test_difference_shrinks_with_the_overlap():
    net = local_network()
    images = torch.rand(1, 3, 40, 50, dtype=torch.float64)
    differences = [
        tiling_difference(net, images, 2, tile=16, overlap=overlap) for overlap in range(4)
    ]
    largest = [difference.largest for difference in differences]
    assert largest[0] > largest[1] > largest[2] > 1e-6
    assert largest[3] < 1e-12
    assert 0 < differences[0].mean < largest[0]


def test_edsr_of_basicsr_in_float32():
    """One residual block sees 6 pixels around each."""
    basicsr_m2trans.register()
    from basicsr.archs.edsr_arch import EDSR

    torch.manual_seed(0)
    net = EDSR(3, 3, num_feat=8, num_block=1, upscale=2, res_scale=1, img_range=1.0)
    images = torch.rand(1, 3, 50, 40)
    assert tiling_difference(net, images, 2, tile=24, overlap=6).largest < 1e-6
    assert 1e-6 < tiling_difference(net, images, 2, tile=24, overlap=0).largest < 0.2


def test_seams_are_blended():
    """A network that paints each tile in another shade gives no step of more than a
    seam's slope.
    """
    count = iter(range(100))

    class Shade(nn.Module):
        def forward(self, x):
            return torch.full_like(x, next(count) % 2)

    out = upscale_in_tiles(Shade(), torch.zeros(1, 1, 16, 64), 1, tile=16, overlap=0)
    assert out.min() == 0
    assert out.max() == 1
    assert out.diff(dim=-1).abs().max() <= 1 / 8 + 1e-6


def test_instance_statistics_make_a_measured_difference():
    torch.manual_seed(0)
    net = M2Trans(2, num_feat=8, num_block=2)
    images = torch.rand(1, 3, 64, 64) * torch.linspace(0.1, 1, 64)
    difference = tiling_difference(net, images, 2, tile=32, overlap=16)
    assert difference.largest > 1e-3


def test_bad_settings_are_refused():
    images = torch.rand(1, 3, 40, 40, dtype=torch.float64)
    with pytest.raises(InputError, match="overlap"):
        upscale_in_tiles(local_network(), images, 2, overlap=-1)
    for upscale in (1, 3):
        with pytest.raises(InputError, match=f"upscale is {upscale}"):
            upscale_in_tiles(local_network(), images, upscale)
