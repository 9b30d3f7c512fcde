import pytest
import torch
import torch.nn.functional as F

from basicsr_m2trans.archs.padding import pad_to_multiple, upscale_padded


def test_equals_reflection_where_that_works():
    x = torch.randn(2, 3, 20, 27)
    assert torch.equal(pad_to_multiple(x, 32), F.pad(x, (0, 5, 0, 12), mode="reflect"))


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, [0, 0, 0, 0, 0, 0, 0, 0]), (2, [0, 1, 0, 1, 0, 1, 0, 1]), (3, [0, 1, 2, 1, 0, 1, 2, 1])],
)
def test_reflection_goes_back_and_forth(size, expected):
    x = torch.arange(size).view(1, 1, 1, size)
    assert pad_to_multiple(x, 8)[0, 0, 0].tolist() == expected


def test_nothing_missing_nothing_copied():
    x = torch.randn(1, 1, 64, 32)
    assert pad_to_multiple(x, 32) is x


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (8, 16)])
def test_a_network_sees_multiples_and_its_output_is_cropped(size):
    seen = []

    def network(x):
        seen.append(tuple(x.shape[-2:]))
        return x.repeat_interleave(3, dim=-2).repeat_interleave(3, dim=-1)

    x = torch.randn(2, 3, *size)
    out = upscale_padded(network, x, 8)
    assert seen == [tuple(-(-side // 8) * 8 for side in size)]
    assert torch.equal(out, x.repeat_interleave(3, dim=-2).repeat_interleave(3, dim=-1))
