"""Margins around a region."""

import torch
from torch import nn

from basicsr_m2trans.inference.regions import with_margin


def test_padding_of_the_map_but_not_of_the_region_reaches_the_result():
    torch.manual_seed(0)
    layer = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"), nn.PixelShuffle(2)
    ).double()
    x = torch.rand(1, 1, 9, 8, dtype=torch.float64)
    expected = layer(x)
    for rows, columns in (
        (slice(0, 4), slice(0, 8)),
        (slice(3, 5), slice(1, 2)),
        (slice(8, 9), slice(7, 8)),
    ):
        seen = []

        def compute(region, seen=seen):
            seen.append(region)
            return layer(x[(..., *region)])

        out = with_margin(compute, (rows, columns), (9, 8), margin=1, scale=2)
        torch.testing.assert_close(
            out, expected[..., rows.start * 2 : rows.stop * 2, columns.start * 2 : columns.stop * 2]
        )
    assert seen == [(slice(7, 9), slice(6, 8))]
