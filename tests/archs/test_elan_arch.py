import pytest
import torch
import torch.nn.functional as F

from basicsr_m2trans.archs.elan_arch import ELAN, MultiScaleAttention, ShiftConv
from basicsr_m2trans.utils.errors import InputError


def test_shifts_are_fixed_and_zero_padded():
    layer = ShiftConv(5, 5)
    torch.nn.init.dirac_(layer.conv1x1.weight)
    torch.nn.init.zeros_(layer.conv1x1.bias)
    x = torch.randn(1, 5, 4, 6)
    right, left, down, up, same = layer(x)[0]
    assert torch.equal(right, F.pad(x[0, 0, :, 1:], (0, 1)))
    assert torch.equal(left, F.pad(x[0, 1, :, :-1], (1, 0)))
    assert torch.equal(down, F.pad(x[0, 2, 1:], (0, 0, 0, 1)))
    assert torch.equal(up, F.pad(x[0, 3, :-1], (0, 0, 1, 0)))
    assert torch.equal(same, x[0, 4])
    assert [name for name, _ in layer.named_parameters()] == ["conv1x1.weight", "conv1x1.bias"]


def test_attention_weights_values_by_similarity():
    """One window over the whole map: softmax(q q') v, written out."""
    torch.manual_seed(0)
    attention = MultiScaleAttention(5, (4,), shifted=False, reuses_maps=False).eval()
    torch.nn.init.dirac_(attention.project_out.weight)
    torch.nn.init.zeros_(attention.project_out.bias)
    x = torch.randn(1, 5, 4, 4)
    query, value = attention.project_inp(x).flatten(2).chunk(2, dim=1)
    expected = value @ (query.transpose(1, 2) @ query).softmax(dim=-1).transpose(1, 2)
    torch.testing.assert_close(attention(x)[0].flatten(2), expected)


def test_reused_maps_are_those_of_the_first_block():
    torch.manual_seed(0)
    x = torch.randn(2, 30, 16, 32)
    first = MultiScaleAttention(30, (4, 8, 16), shifted=True, reuses_maps=False)
    maps = first(x)[1]
    assert [tuple(m.shape) for m in maps] == [(2, 32, 16, 16), (2, 8, 64, 64), (2, 2, 256, 256)]
    again = MultiScaleAttention(30, (4, 8, 16), shifted=True, reuses_maps=True)(x, maps)[1]
    assert all(ours is given for ours, given in zip(again, maps, strict=True))


def test_every_second_group_of_blocks_is_shifted():
    body = ELAN(2, num_feat=15, num_block=8).body
    assert [part.modules_gmsa["gmsa_0"].shifted for part in body] == [False, True, False, True]


def test_img_range_scales_the_inside_only(official):
    net, expected = official("ELAN", 2)
    net.body = torch.nn.Identity()
    torch.nn.init.zeros_(net.head[0].bias)
    torch.nn.init.zeros_(net.tail[0].bias)
    with torch.no_grad():
        once = net(expected["input"])
        net.img_range = 255.0
        torch.testing.assert_close(net(expected["input"]), once)


@pytest.mark.parametrize(("num_in_ch", "num_out_ch"), [(1, 1), (1, 3)])
def test_other_channel_counts(num_in_ch, num_out_ch):
    net = ELAN(2, num_in_ch, num_out_ch, num_feat=15, num_block=2).eval()
    assert net.mean.tolist() == [[[[0.0]]]]
    with torch.no_grad():
        assert net(torch.rand(1, num_in_ch, 9, 5)).shape == (1, num_out_ch, 18, 10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_feat": 33}, "num_feat must be a multiple of 5"),
        ({"num_feat": 20}, "and of 3"),
        ({"num_block": 5}, r"num_block must be a multiple of num_share \+ 1 = 2"),
        ({"num_block": 0}, "num_block"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        ELAN(2, **settings)
