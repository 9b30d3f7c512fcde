"""Counts against counts by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from basicsr_m2trans.apps.report import complexity as module
from basicsr_m2trans.apps.report.complexity import (
    Complexity,
    Cost,
    complexity,
    complexity_table,
    measure_cost,
)


def m2trans_multiply_adds(scale: int) -> int:
    """M2Trans of the paper, layer by layer, for an HR image of 384 x 384."""
    pixels = (384 // scale) ** 2
    total = 9 * 3 * 64 * pixels  # head
    for level in (0, 1, 2, 2):
        channels, tokens = 16 * 4**level, pixels // 4**level
        qkv = channels * 3 * channels * tokens
        attention = (
            2 * tokens * 100 * channels
        )  # 8 x 8 queries see 10 x 10 keys: Q K^T, then the product with V
        total += 8 * (qkv + attention)
    total += 8 * 9 * 64 * 64 * pixels  # 3 x 3 convolution of each CFTM
    for step in (2, 2) if scale == 4 else (scale,):
        total += 64 * 64 * step**2 * pixels
        pixels *= step**2
    return total + 9 * 64 * 3 * pixels


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_m2trans_agrees_with_the_count_by_hand(scale):
    found = complexity({"type": "M2Trans", "upscale": scale})
    assert found.multiply_adds == m2trans_multiply_adds(scale)
    assert found.total == {2: 3_613_120, 3: 3_633_920, 4: 3_629_760}[scale]


def test_the_options_of_m2trans_and_the_skip_of_others_are_counted():
    """EDSR-baseline has 1,517,571 parameters at x4; the skip adds none and multiplies nothing."""
    edsr = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_block": 16}
    alone = complexity({"type": "EDSR", "upscale": 4, **edsr})
    assert alone.total == 1_517_571
    assert (
        complexity({"type": "GlobalSkip", "upscale": 4, "network": {"type": "EDSR", **edsr}})
        == alone
    )
    blocks = [
        complexity(
            {
                "type": "M2Trans",
                "upscale": 4,
                "bias": False,
                "norm": "none",
                "num_res_block": number,
            }
        )
        for number in (0, 1)
    ]
    convolutions = 8 * 2 * 9 * 64 * 64  # in each of eight modules one block of two
    assert blocks[1].total - blocks[0].total == convolutions
    assert blocks[1].multiply_adds - blocks[0].multiply_adds == convolutions * 96**2


def test_the_fast_path_is_counted_as_the_plain_one():
    networks = [
        {"type": "M2Trans", "upscale": 2, "num_feat": 16, "num_block": 1, "fast": fast}
        for fast in (True, False)
    ]
    assert complexity(networks[0], 64) == complexity(networks[1], 64)
    assert networks[0]["fast"]


def test_edsr_agrees_with_the_count_by_hand():
    network = {
        "type": "EDSR",
        "upscale": 2,
        "num_in_ch": 3,
        "num_out_ch": 3,
        "num_feat": 8,
        "num_block": 2,
    }
    pixels = 32**2
    convolutions = 3 * 8 + 2 * 2 * 8 * 8 + 8 * 8 + 8 * 32 + 4 * 8 * 3
    assert complexity(network, 64).multiply_adds == 9 * convolutions * pixels


def test_bicubic_has_nothing_to_count():
    assert complexity({"type": "Bicubic", "upscale": 2}) == Complexity(0, 0, 0)


def test_attention_and_frozen_parameters(monkeypatch):
    """scaled_dot_product_attention counts as its two products; frozen parameters are total, not
    trainable.
    """

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(nn.Linear(1, 5).bias.detach(), requires_grad=False)

        def forward(self, x):
            tokens = x.flatten(2).transpose(1, 2)  # (1, side^2, 3)
            return F.scaled_dot_product_attention(tokens, tokens, tokens)

    monkeypatch.setattr(module, "build_network", lambda *_: Attention())
    assert complexity({"type": "Attention", "upscale": 2}, 16) == Complexity(0, 5, 2 * 64 * 64 * 3)


def test_measured_cost_is_plausible():
    """Memory is that of the forward pass alone, however much the measuring process has
    used before.
    """
    used_before = torch.ones(2**27)
    del used_before
    cost = measure_cost(
        {
            "type": "EDSR",
            "upscale": 2,
            "num_in_ch": 3,
            "num_out_ch": 3,
            "num_feat": 32,
            "num_block": 1,
        },
    )
    assert cost.seconds > 0
    upsampled = 4 * 128 * 192**2  # bytes of the map before the pixel shuffle
    assert upsampled < cost.peak_bytes < 20 * upsampled


def test_the_table_has_the_papers_figures_beside():
    count = Complexity(1000, 2000, 23_949_213_696)
    rows = [
        ("M2Trans", 3, count, None),
        ("M2Trans", 2, count, Cost(0.25, 2**20)),
        ("Bicubic", 2, count, None),
    ]
    lines = complexity_table(rows).splitlines()
    assert lines[2] == "| x2 | M2Trans | 1,000 | 2,000 | 23.95 | 3.61 | 20.23 | 250.0 | 1 |"
    assert lines[3] == "| x2 | Bicubic | 1,000 | 2,000 | 23.95 |  |  |  |  |"
    assert lines[4].startswith("| x3 | M2Trans | 1,000 | 2,000 | 23.95 | 3.63 | 9.48 |")
