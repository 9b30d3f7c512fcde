"""Activation checkpointing: the gradients of the plain network, for every kind of block."""

import copy

import pytest
import torch
from torch import nn

import basicsr_m2trans
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.models.checkpointing import checkpoint_blocks, repeated_blocks
from basicsr_m2trans.utils.errors import InputError

basicsr_m2trans.register()

from basicsr.archs.edsr_arch import EDSR  # noqa: E402
from basicsr.archs.rcan_arch import RCAN  # noqa: E402
from basicsr.archs.rrdbnet_arch import RRDBNet  # noqa: E402
from basicsr.archs.srresnet_arch import MSRResNet  # noqa: E402
from basicsr.archs.swinir_arch import SwinIR  # noqa: E402


class NormalisedBlock(nn.Module):
    """A block whose statistics would move twice, and whose random numbers would differ, if computed
    again as is.
    """

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Dropout(0.5)
        )

    def forward(self, x):
        return x + self.layers(x)


def swinir():
    """With stochastic depth and one more argument of each block, the size of the map."""
    return SwinIR(
        img_size=8,
        embed_dim=8,
        depths=(2, 2, 2),
        num_heads=(2, 2, 2),
        window_size=4,
        mlp_ratio=2,
        upscale=2,
        drop_path_rate=0.5,
        upsampler="pixelshuffledirect",
        resi_connection="1conv",
    )


NETWORKS = {
    "M2Trans": (lambda: M2Trans(2, num_feat=8, num_block=2), 2, "CFTM"),
    "M2Trans, literally": (lambda: M2Trans(2, num_feat=8, num_block=2, fast=False), 2, "CFTM"),
    "EDSR": (lambda: EDSR(3, 3, num_feat=4, num_block=3, upscale=2), 3, "ResidualBlockNoBN"),
    "SwinIR": (swinir, 3, "RSTB"),
    "RCAN": (
        lambda: RCAN(3, 3, num_feat=4, num_group=2, num_block=2, squeeze_factor=2, upscale=2),
        2,
        "ResidualGroup",
    ),
    "RRDBNet": (lambda: RRDBNet(3, 3, scale=2, num_feat=4, num_block=2, num_grow_ch=4), 2, "RRDB"),
    "MSRResNet": (
        lambda: MSRResNet(3, 3, num_feat=4, num_block=2, upscale=2),
        2,
        "ResidualBlockNoBN",
    ),
    "BatchNorm and dropout": (
        lambda: nn.Sequential(NormalisedBlock(), NormalisedBlock()),
        2,
        "NormalisedBlock",
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_and_statistics_are_the_same_to_the_bit(name, device):
    """On a GPU to rounding: some of its operations add up in any order."""
    build, count, kind = NETWORKS[name]
    torch.manual_seed(0)
    plain = build().to(device).train()
    checkpointed = copy.deepcopy(plain)
    assert [type(block).__name__ for block in repeated_blocks(plain)] == [kind] * count
    checkpoint_blocks(checkpointed)
    x = torch.rand(2, 3, 8, 8, device=device)
    for net in (plain, checkpointed):
        torch.manual_seed(1)
        net(x).square().mean().backward()
    rounding = 0 if device == "cpu" else 1e-4
    for expected, parameter in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        largest = expected.grad.abs().max().item()
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=0, atol=rounding * largest)
    torch.testing.assert_close(checkpointed.state_dict(), plain.state_dict(), rtol=0, atol=rounding)


def test_compiled_blocks_give_the_same_gradients_and_statistics():
    torch._dynamo.reset()
    plain = nn.Sequential(
        *(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)) for _ in range(2))
    )
    checkpointed = copy.deepcopy(plain)
    checkpoint_blocks(checkpointed)
    x = torch.rand(2, 3, 8, 8)
    for forward in (plain, torch.compile(checkpointed, backend="aot_eager", fullgraph=True)):
        forward(x).square().mean().backward()
    for expected, parameter in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad)
    torch.testing.assert_close(checkpointed.state_dict(), plain.state_dict())


def test_blocks_keep_only_their_inputs():
    """Each block runs forward a second time in the backward pass; without gradient it runs once."""
    net = nn.Sequential(*(NormalisedBlock() for _ in range(3)))
    runs = []
    for block in net:
        block.layers[0].register_forward_hook(lambda *_: runs.append(1))
    checkpoint_blocks(net)
    x = torch.rand(1, 3, 4, 4)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: saved.append(t.shape) or t, lambda t: t
    ):
        out = net(x)
    assert len(runs) == 3
    assert saved == [x.shape] * 3
    out.sum().backward()
    assert len(runs) == 6
    with torch.no_grad():
        net(x)
    assert len(runs) == 9


def test_a_network_without_blocks_is_refused():
    net = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3))
    with pytest.raises(InputError, match="no repeated blocks in Sequential"):
        checkpoint_blocks(net)
