"""Every network in each precision against float64 on the CPU."""

import contextlib

import pytest
import torch

import basicsr_m2trans
from basicsr_m2trans.models.precision import float32_products

basicsr_m2trans.register()

from basicsr.archs import build_network  # noqa: E402

pytestmark = pytest.mark.gpu

M2TRANS = {"type": "M2Trans", "num_feat": 16, "num_block": 2}
SWIN = {
    "in_chans": 3,
    "embed_dim": 12,
    "depths": [2],
    "num_heads": [2],
    "mlp_ratio": 2,
    "upsampler": "pixelshuffle",
}
NETWORKS = {
    "M2Trans": M2TRANS,
    "M2Trans, literally": M2TRANS | {"fast": False},
    "M2Trans, local": M2TRANS
    | {"norm": "none", "bias": False, "num_res_block": 2, "reconstruction": "conv"},
    "EDSR": {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 2},
    "SwinIR": {"type": "PaddedSwinIR", **SWIN, "img_size": 64, "window_size": 8},
    "ELAN": {"type": "ELAN", "num_feat": 15, "num_block": 4},
    "ESRT": {"type": "ESRT", "num_feat": 16, "num_block": 1},
    "HAT": {"type": "HAT", **SWIN, "img_size": 64, "window_size": 16, "squeeze_factor": 4},
}
# Norm of the error by norm of the value: of the output and of the gradient of all weights. On a CPU
# the largest of these networks were 5e-7 and 2e-6, 1e-3 and 2e-2, 9e-3 and 7e-2; TF32 rounds as
# float16 does.
TOLERANCES = {
    torch.float32: (1e-5, 1e-4),
    "TF32": (5e-3, 1e-1),
    torch.float16: (5e-3, 1e-1),
    torch.bfloat16: (3e-2, 2e-1),
}


def output_and_gradient(net, x, precision):
    """Of a fixed sum of the output, in float64 on the CPU."""
    reduced = precision in (torch.float16, torch.bfloat16)
    with torch.autocast(x.device.type, precision) if reduced else contextlib.nullcontext():
        out = net(x)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(out)
    gradients = torch.autograd.grad(out, [p for p in net.parameters() if p.requires_grad], weight)
    return [
        value.detach().double().cpu()
        for value in (out, torch.cat([gradient.flatten() for gradient in gradients]))
    ]


@pytest.mark.parametrize("precision", TOLERANCES, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_output_and_gradient_are_those_of_float64(name, precision):
    torch.manual_seed(0)
    net = build_network({"upscale": 2, **NETWORKS[name]}).eval()
    x = torch.rand(2, 3, 32, 48)
    expected = output_and_gradient(net.double(), x.double(), torch.float64)
    with float32_products(tf32=precision == "TF32"):
        values = output_and_gradient(net.float().cuda(), x.cuda(), precision)
    for value, correct, tolerance in zip(values, expected, TOLERANCES[precision], strict=True):
        error = (value - correct).norm() / correct.norm()
        assert error < tolerance
