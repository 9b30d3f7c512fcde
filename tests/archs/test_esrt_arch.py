import pytest
import torch
import torch.nn.functional as F

from basicsr_m2trans.archs.esrt_arch import ESRT, EfficientAttention, EfficientTransformer
from basicsr_m2trans.utils.errors import InputError


def test_every_parameter_is_trained():
    torch.manual_seed(0)
    net = ESRT(2, num_feat=16, num_block=2)
    net(torch.rand(2, 3, 9, 8)).square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_eight_blocks_do_not_explode_at_the_start():
    torch.manual_seed(0)
    with torch.no_grad():
        assert ESRT(2)(torch.rand(1, 3, 8, 8)).abs().max() < 5


@pytest.mark.parametrize("count", [8, 11])
def test_tokens_attend_to_their_own_quarter(count):
    """Written out token by token; a remainder is a part of its own."""
    torch.manual_seed(0)
    attention = EfficientAttention(32)
    tokens = torch.randn(1, count, 32)
    query, key, value = attention.qkv(attention.reduce(tokens)).view(count, 3, 8, 2).unbind(1)
    rows = []
    for token in range(count):
        size = count // 4
        part = slice(token // size * size, token // size * size + size)
        weight = torch.einsum("hd,thd->ht", query[token], key[part]) * (32 / 8) ** -0.5
        rows.append(torch.einsum("ht,thd->hd", weight.softmax(dim=-1), value[part]).flatten())
    torch.testing.assert_close(attention(tokens)[0], attention.proj(torch.stack(rows)))


@pytest.mark.gpu
@pytest.mark.usefixtures("float32")
def test_memory_on_a_gpu_is_not_quadratic():
    """Heads of 9 channels, which its memory-efficient attention does not take as they are."""
    torch.manual_seed(0)
    attention = EfficientAttention(144)
    tokens = torch.randn(1, 128**2, 144)
    with torch.no_grad():
        expected = attention(tokens[:, :64])
        attention, tokens = attention.cuda(), tokens.cuda()
        torch.testing.assert_close(attention(tokens[:, :64]).cpu(), expected, atol=1e-3, rtol=0)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        attention(tokens)
    weights = 8 * 4096**2 * 4  # bytes of one part's attention weights
    assert torch.cuda.max_memory_allocated() - before < weights / 2


def test_neighbourhoods_are_summed():
    """Without attention and MLP every pixel comes back once for each neighbourhood
    that holds it.
    """
    layer = EfficientTransformer(16)
    for last in (layer.atten.proj, layer.mlp["fc2"]):
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
    x = torch.randn(1, 16, 4, 5)
    counts = F.conv2d(torch.ones(1, 1, 4, 5), torch.ones(1, 1, 3, 3), padding=1)
    torch.testing.assert_close(layer(x), x * counts)


def test_img_range_scales_the_inside_only(official):
    """Without blocks and biases the network is linear for images that are not negative anywhere
    inside.
    """
    net, expected = official("ESRT", 2)
    net.body = torch.nn.ModuleList([torch.nn.Identity()])
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        once = net(expected["input"])
        net.img_range = 255.0
        torch.testing.assert_close(net(expected["input"]), once)


def test_only_sides_of_one_pixel_are_padded():
    net, seen = ESRT(2, num_feat=16, num_block=1), []
    net.head.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape[-2:])))
    with torch.no_grad():
        for size in ((1, 7), (5, 1), (5, 7)):
            net(torch.rand(1, 3, *size))
    assert seen == [(2, 8), (6, 2), (5, 7)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"upscale": 5}, "upscale"),
        ({"upscale": 2, "num_feat": 24}, "num_feat"),
        ({"upscale": 2, "num_block": 0}, "num"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        ESRT(**settings)
