"""One transformer module in strips against the module itself."""

import pytest
import torch

from basicsr_m2trans.archs.m2trans_arch import CFTM
from basicsr_m2trans.inference.strips import apply_in_strips


@pytest.mark.parametrize("dim", [-2, -1])
@pytest.mark.parametrize("strip", [32, 96])
@pytest.mark.parametrize(
    ("wavelet", "fast", "norm", "num_res_block"),
    [
        ("haar", True, "instance", 0),
        ("haar", False, "instance", 0),
        ("none", True, "instance", 0),
        ("haar", True, "none", 0),
        ("haar", True, "instance", 1),
        ("haar", True, "none", 20),
    ],
)
def test_replaces_the_map(dim, strip, wavelet, fast, norm, num_res_block):
    """Twenty residual blocks reach further than a strip of 32 rows."""
    torch.manual_seed(0)
    block = CFTM(8, wavelet, fast, norm, num_res_block=num_res_block).double()
    x = torch.randn(2, 8, 352, 64, dtype=torch.float64).transpose(-1, dim)
    with torch.no_grad():
        expected = block(x)
        features = x.clone()
        apply_in_strips(block, features, strip, dim)
    torch.testing.assert_close(features, expected, atol=1e-11, rtol=0)
