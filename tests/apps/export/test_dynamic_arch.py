import pytest
import torch
from torch import nn

from basicsr_m2trans.apps.export.dynamic_arch import DynamicM2Trans
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.utils.errors import InputError


@pytest.mark.parametrize("upscale", [3, 4])
@pytest.mark.parametrize(
    "settings",
    [
        {"img_range": 2.0},
        {"global_skip": True},
        {"wavelet": "none"},
        {
            "norm": "none",
            "bias": False,
            "num_res_block": 2,
            "reconstruction": "conv",
            "global_skip": True,
        },
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(1, 40), (7, 100), (33, 47), (64, 96)])
def test_equals_the_network(upscale, settings, size):
    torch.manual_seed(0)
    net = M2Trans(upscale, num_feat=16, num_block=2, **settings)
    for layer in net.tail.children():
        if isinstance(layer, nn.Conv2d):
            torch.nn.init.normal_(layer.weight, std=0.05)
    net = net.double().eval()
    dynamic = DynamicM2Trans(net, torch.float64)
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        # float32 in the normalisation and at the end.
        assert torch.allclose(dynamic(image).float(), net(image).float(), atol=1e-5)


def test_leaves_the_network_as_it_is():
    net = M2Trans(2, num_feat=8, num_block=1).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    DynamicM2Trans(net, torch.float16)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_refuses_what_it_cannot_express():
    with pytest.raises(InputError, match="not Conv2d"):
        DynamicM2Trans(nn.Conv2d(3, 3, 1))
    with pytest.raises(InputError, match="wavelet 'haar' or 'none'"):
        DynamicM2Trans(M2Trans(2, num_feat=8, num_block=1, wavelet="db2"))
