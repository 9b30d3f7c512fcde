"""Our instance normalisation against PyTorch's."""

import pytest
import torch
from torch import nn

from basicsr_m2trans.archs.instance_norm import instance_norm


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_equals_pytorch_with_gradient(memory_format, device):
    torch.manual_seed(0)
    x = torch.randn(2, 5, 6, 7, dtype=torch.float64, device=device) * 3 + 10
    x = x.to(memory_format=memory_format).requires_grad_()
    out = instance_norm(x)
    assert out.is_contiguous(memory_format=memory_format)
    expected = nn.InstanceNorm2d(5)(x)
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=0)
    weight = torch.randn_like(out)
    gradients = (torch.autograd.grad(y, x, weight)[0] for y in (out, expected))
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=0)


def test_is_accurate_far_from_zero(device):
    torch.manual_seed(0)
    x = torch.randn(1, 64, 64, 64, device=device).add_(30).to(memory_format=torch.channels_last)
    # A GPU adds up in another order.
    tolerance = 5e-6 if device == "cpu" else 2e-5
    torch.testing.assert_close(
        instance_norm(x).double(), nn.InstanceNorm2d(64)(x.double()), atol=tolerance, rtol=0
    )


def test_bfloat16_has_float32_statistics():
    torch.manual_seed(0)
    x = torch.randn(1, 2, 128, 128).add_(3).bfloat16()
    out = instance_norm(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), nn.InstanceNorm2d(2)(x.double()), atol=2e-2, rtol=4e-3)


def test_constant_map_stays_finite():
    assert torch.equal(instance_norm(torch.full((1, 1, 4, 4), 0.5)), torch.zeros(1, 1, 4, 4))


def test_bfloat16_gradient_has_float32_statistics():
    """A shift of the map changes nothing, so the gradient has no mean; one rounded to bfloat16
    would leave 6e-3.
    """
    torch.manual_seed(0)
    x = torch.randn(1, 2, 128, 128).add_(3).bfloat16().requires_grad_()
    out = instance_norm(x)
    (gradient,) = torch.autograd.grad(out, x, torch.randn_like(out) + 3.01)
    assert gradient.dtype == torch.bfloat16
    assert gradient.double().mean((2, 3)).abs().max() < 1e-3
