import pytest
import torch
import torch.nn.functional as F

from basicsr_m2trans.archs.halo_attention import HaloAttention


def attend_pixel(attention, x, row, column):
    """Eq. 7 for one pixel of a map whose sides are multiples of the window, written without any
    batching.
    """
    size, halo, dim = attention.window_size, attention.halo_size, attention.dim
    query, key, value = attention.qkv_conv(x)[0].split(dim)
    key, value = (F.pad(t, (halo,) * 4) for t in (key, value))
    top, left = row // size * size, column // size * size
    key_size = size + 2 * halo
    key = key[:, top : top + key_size, left : left + key_size].clone()
    value = value[:, top : top + key_size, left : left + key_size]
    key[: dim // 2] += attention.rel_h[0].permute(2, 0, 1)
    key[dim // 2 :] += attention.rel_w[0].permute(2, 0, 1)
    logits = torch.einsum("d,dhw->hw", query[:, row, column], key) / dim**0.5
    return torch.einsum("hw,dhw->d", logits.flatten().softmax(0).view_as(logits), value)


def test_equals_the_definition_pixel_by_pixel():
    torch.manual_seed(0)
    attention = HaloAttention(6)
    x = torch.randn(1, 6, 16, 24)
    out = attention(x)
    for row, column in [(0, 0), (7, 8), (8, 7), (15, 23), (4, 12)]:
        torch.testing.assert_close(out[0, :, row, column], attend_pixel(attention, x, row, column))


def test_zeros_outside_the_map_take_part_in_the_softmax():
    attention = HaloAttention(2)
    torch.nn.init.zeros_(attention.rel_h)
    torch.nn.init.zeros_(attention.rel_w)
    with torch.no_grad():
        attention.qkv_conv.weight.zero_()
        attention.qkv_conv.weight[4:] = torch.eye(2).view(
            2, 2, 1, 1
        )  # values are the input, queries and keys zero
    # One window: 64 ones among the 100 keys, 36 zeros in the halo, all with the same weight.
    torch.testing.assert_close(attention(torch.ones(1, 2, 8, 8)), torch.full((1, 2, 8, 8), 0.64))


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (8, 5)])
def test_maps_that_windows_do_not_divide(size):
    torch.manual_seed(0)
    attention = HaloAttention(4)
    x = torch.randn(2, 4, *size)
    rows = torch.arange(16) % max(2 * (size[0] - 1), 1)
    columns = torch.arange(16) % max(2 * (size[1] - 1), 1)
    rows = torch.where(rows < size[0], rows, 2 * (size[0] - 1) - rows)[: -(-size[0] // 8) * 8]
    columns = torch.where(columns < size[1], columns, 2 * (size[1] - 1) - columns)[
        : -(-size[1] // 8) * 8
    ]
    expected = attention(x[:, :, rows][..., columns])[..., : size[0], : size[1]]
    assert attention(x).shape == x.shape
    torch.testing.assert_close(attention(x), expected)


def test_initialisation_is_the_released_code_s():
    """qkv: kaiming normal by fan-out, so deviation sqrt(2 / 3d); positions: N(0, 1)."""
    torch.manual_seed(0)
    attention = HaloAttention(64)
    torch.testing.assert_close(
        attention.qkv_conv.weight.std().item(), (2 / 192) ** 0.5, rtol=0.05, atol=0
    )
    for position in (attention.rel_h, attention.rel_w):
        torch.testing.assert_close(position.std().item(), 1.0, rtol=0.15, atol=0)


def test_odd_width_is_refused():
    with pytest.raises(ValueError, match="even"):
        HaloAttention(5)
