"""The fast path against the readable definition, with the same parameters."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from basicsr_m2trans.archs import M2Trans, window_attention
from basicsr_m2trans.archs.fast_reconstruction import reconstruct_in_strips
from basicsr_m2trans.archs.folded_attention import folded_attention
from basicsr_m2trans.archs.halo_attention import HaloAttention
from basicsr_m2trans.archs.wavelet import haar_dwt, haar_idwt, haar_matrix

HYBRID = {"norm": "none", "bias": False, "num_res_block": 2, "reconstruction": "conv"}


def both(upscale=2, device="cpu", **settings):
    """The same network by the fast and by the plain path, in float64."""
    torch.manual_seed(0)
    fast = M2Trans(upscale, num_feat=16, num_block=2, **settings).double()
    plain = M2Trans(upscale, num_feat=16, num_block=2, fast=False, **settings).double()
    plain.load_state_dict(fast.state_dict())
    return fast.to(device), plain.to(device)


@pytest.mark.parametrize("upscale", [2, 3, 4])
@pytest.mark.parametrize(
    "settings",
    [{}, {"wavelet": "none"}, {"num_in_ch": 1, "num_out_ch": 4}, {"bias": False}, HYBRID],
    ids=str,
)
def test_outputs_and_gradients_are_equal(upscale, settings, device):
    fast, plain = both(upscale, device, **settings)
    x = torch.rand(2, settings.get("num_in_ch", 3), 35, 64, dtype=torch.float64, device=device)
    outputs = fast(x), plain(x)
    torch.testing.assert_close(*outputs, atol=1e-10, rtol=0)
    weight = torch.randn_like(outputs[0])
    gradients = [
        torch.autograd.grad(out, list(net.parameters()), weight)
        for out, net in zip(outputs, (fast, plain), strict=True)
    ]
    for name, ours, expected in zip(dict(fast.named_parameters()), *gradients, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-8, rtol=1e-8, msg=name)


def test_float32_outputs_agree_to_1e_5(device):
    fast, plain = (net.float() for net in both(device=device))
    x = torch.rand(1, 3, 40, 50, device=device)
    torch.testing.assert_close(fast(x), plain(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("levels", [0, 1, 2])
@pytest.mark.parametrize(
    "windows_at_once", [1000, 3, None], ids=["all at once", "the last portion smaller", "fused"]
)
def test_one_branch(levels, windows_at_once, monkeypatch):
    if windows_at_once is None:
        monkeypatch.setitem(
            window_attention.ATTENTIONS, "explicit", window_attention.fused_attention
        )
    else:
        monkeypatch.setattr(window_attention, "WINDOWS_AT_ONCE", windows_at_once)
    torch.manual_seed(0)
    attention = HaloAttention(4 * 4**levels)
    x = torch.randn(2, 4, 32, 64, requires_grad=True)
    expected = x
    for _ in range(levels):
        expected = haar_dwt(expected)
    expected = attention(expected)
    for _ in range(levels):
        expected = haar_idwt(expected)
    inputs = (x, *attention.parameters())
    expected = x + expected
    out = folded_attention(x, attention, haar_matrix(levels))
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
    weight = torch.randn_like(out)
    for ours, theirs in zip(
        torch.autograd.grad(out, inputs, weight),
        torch.autograd.grad(expected, inputs, weight),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_reconstruction_down_to_two_pixels(upscale, device):
    """Reflection at the border of the high-resolution map is part of the last convolution."""
    torch.manual_seed(0)
    tail = M2Trans(upscale, num_feat=8, num_block=1).tail.to(device).double()
    for size in ((2, 1), (1, 2), (5, 3)):
        x = torch.randn(2, 8, *size, dtype=torch.float64, device=device)
        torch.testing.assert_close(reconstruct_in_strips(x, tail), tail(x))


def test_bfloat16_autocast_stays_close(device):
    fast, plain = (net.float() for net in both(device=device))
    x = torch.rand(1, 3, 32, 32, device=device)
    with torch.no_grad(), torch.autocast(device, torch.bfloat16):
        out = fast(x)
    with torch.no_grad():
        expected = plain(x)
    assert (out.float() - expected).abs().mean() < 5e-3


@pytest.mark.parametrize(
    "mode", [torch.inference_mode, lambda: FakeTensorMode(allow_non_fake_inputs=True)]
)
def test_nothing_of_a_mode_is_kept(mode):
    """Training after inference, and computing after torch.export, which runs on tensors without
    values.
    """
    attention, haar = HaloAttention(16), haar_matrix(1)
    x = torch.rand(1, 4, 16, 16)
    with mode():
        folded_attention(x, attention, haar)
    out = folded_attention(x, attention, haar)
    assert type(out) is torch.Tensor
    out.sum().backward()
    assert all(parameter.grad is not None for parameter in attention.parameters())
