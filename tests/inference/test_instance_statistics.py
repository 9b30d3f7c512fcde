"""Statistics from parts against InstanceNorm of the whole."""

import itertools

import torch

from basicsr_m2trans.inference.instance_statistics import InstanceStatistics


def gathered(x, edges):
    statistics = InstanceStatistics()
    for start, stop in itertools.pairwise(edges):
        statistics.add(x[:, :, start:stop])
    return statistics


def test_parts_of_any_size_give_the_statistics_of_the_whole():
    x = torch.randn(2, 3, 40, 11, dtype=torch.float64)
    x *= torch.arange(40)[:, None]
    statistics = gathered(x, [0, 1, 17, 40])
    torch.testing.assert_close(statistics.mean, x.mean((2, 3), keepdim=True))
    variance = statistics.deviations / statistics.count
    torch.testing.assert_close(variance, x.var((2, 3), correction=0, keepdim=True))
    expected = torch.nn.functional.instance_norm(x)
    torch.testing.assert_close(statistics.normalise(x, slice(None)), expected)
    part = statistics.normalise(x[:, 1:, 5:9], slice(1, 3))
    torch.testing.assert_close(part, expected[:, 1:, 5:9])


def test_a_large_mean_costs_no_digits():
    """The mean of squares minus the squared mean has no right digit here in float32."""
    x = (torch.randn(1, 2, 64, 64, dtype=torch.float64) + 5000).float()
    statistics = gathered(x, [0, 32, 64])
    expected = x.double().var((2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(
        statistics.deviations / statistics.count, expected, rtol=1e-4, atol=0
    )
