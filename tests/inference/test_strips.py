"""One transformer module in strips against the module itself."""

import pytest
import torch

from basicsr_m2trans.archs.m2trans_arch import CFTM
from basicsr_m2trans.inference.instance_statistics import InstanceStatistics
from basicsr_m2trans.inference.strips import apply_in_strips


@pytest.mark.parametrize("dim", [-2, -1])
@pytest.mark.parametrize("strip", [32, 96])
@pytest.mark.parametrize(("wavelet", "fast"), [("haar", True), ("haar", False), ("none", True)])
def test_replaces_the_map_and_returns_its_statistics(dim, strip, wavelet, fast):
    torch.manual_seed(0)
    block = CFTM(8, wavelet, fast).double()
    x = torch.randn(2, 8, 352, 64, dtype=torch.float64).transpose(-1, dim)
    statistics = InstanceStatistics()
    statistics.add(x)
    with torch.no_grad():
        expected = block(x)
        features = x.clone()
        result = apply_in_strips(block, features, statistics, strip, dim)
    torch.testing.assert_close(features, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(result.mean, expected.mean((2, 3), keepdim=True))
    torch.testing.assert_close(result.deviations / result.count, expected.var((2, 3), correction=0, keepdim=True))
