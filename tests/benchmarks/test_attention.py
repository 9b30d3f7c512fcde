import pytest
import torch

from basicsr_m2trans.archs.halo_attention import HaloAttention
from basicsr_m2trans.archs.wavelet import haar_matrix

CPU = torch.device("cpu")


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("name", ["explicit", "fused", "projected", "flex"])
def test_outputs_and_gradients_are_those_of_the_literal_computation(name, level):
    import attention

    torch.manual_seed(0)
    layer, haar = HaloAttention(2 * 4**level).double(), haar_matrix(level).double()
    branches = attention.implementations(CPU, quick=True)
    x = torch.randn(2, 2, 64, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(
            branches[name](x, layer, haar), attention.literal(x, layer, haar)
        )
    if name == "flex":  # has no backward on a CPU
        return
    x.requires_grad_()
    weight = torch.randn_like(x)
    ours, theirs = (
        torch.autograd.grad(branches[each](x, layer, haar), (x, *layer.parameters()), weight)
        for each in (name, "literal")
    )
    torch.testing.assert_close(ours, theirs)


def test_flex_is_left_out_where_it_would_fill_the_memory():
    import attention

    assert "flex" not in attention.implementations(CPU, quick=False)
