"""Forward passes and training steps of networks on random input, for several benchmarks."""

from collections.abc import Callable

import torch
from torch import nn

from basicsr_m2trans.archs import M2Trans

QUICK_NETWORK = {"num_feat": 16, "num_block": 1}


def networks(upscale: int, quick: bool) -> tuple[M2Trans, M2Trans]:
    """The literal and the fast network with the same weights; the literal one computes what the released code does."""
    settings = QUICK_NETWORK if quick else {}
    literal, fast = M2Trans(upscale, fast=False, **settings), M2Trans(upscale, **settings)
    fast.load_state_dict(literal.state_dict())
    return literal, fast


def forward(network: nn.Module, x: torch.Tensor, bfloat16: bool = False) -> Callable[[], torch.Tensor]:
    """One inference."""

    def run() -> torch.Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return network(x)

    return run


def training_step(
    network: nn.Module,
    x: torch.Tensor,
    bfloat16: bool = False,
    semantic_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> Callable[[], None]:
    """One step: forward, L1 loss and where given the semantic loss of SR and HR, backward, Adam."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-5)
    with torch.no_grad():
        target = torch.rand_like(network(x))

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            output = network(x)
        output = output.float()
        loss = (output - target).abs().mean()
        if semantic_loss is not None:
            loss = loss + semantic_loss(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run
