"""Forward passes and training steps of networks on random input, for several benchmarks."""

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.models.precision import float32_products

QUICK_NETWORK = {"num_feat": 16, "num_block": 1}
SemanticLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class NetworkRun:
    """A computation of a network, of which floors are known.

    Attributes:
        compute: what is timed.
        precision: 'float32', 'TF32' or 'bfloat16'.
        counted: the same work for the floors, where `compute` is compiled.
        floors: whether the floors can be counted.
        peak: whether PyTorch's allocator sees the memory at its peak; that of CUDA graphs it does
            not.
    """

    compute: Callable[[], object]
    precision: str = "float32"
    counted: Callable[[], object] | None = None
    floors: bool = True
    peak: bool = True

    def __call__(self) -> None:
        """Compute once."""
        with float32_products(self.precision == "TF32"):
            self.compute()


def networks(upscale: int, quick: bool, device: torch.device) -> tuple[M2Trans, M2Trans]:
    """The literal network, which computes what the released code does, and the fast one."""
    settings = QUICK_NETWORK if quick else {}
    literal, fast = M2Trans(upscale, fast=False, **settings), M2Trans(upscale, **settings)
    fast.load_state_dict(literal.state_dict())
    return literal.to(device), fast.to(device)


def named(name: str, precision: str) -> str:
    """The name of a figure; float32 goes without saying."""
    return name if precision == "float32" else f"{name}, {precision}"


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[None]:
    """bfloat16 for the layers of a network where the precision is that."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def forward(
    network: nn.Module,
    x: torch.Tensor,
    precision: str = "float32",
    counted: nn.Module | None = None,
) -> NetworkRun:
    """One inference.

    Args:
        network: what is timed.
        x: its input.
        precision: see `NetworkRun`.
        counted: the network itself, where `network` is compiled.
    """

    def infer(part: nn.Module) -> torch.Tensor:
        with torch.no_grad(), autocast(x.device, precision):
            return part(x)

    return NetworkRun(lambda: infer(network), precision, counted and (lambda: infer(counted)))


def forward_in_bfloat16(network: nn.Module, x: torch.Tensor) -> NetworkRun:
    """One inference in bfloat16 throughout, which autocast leaves to the single layers."""
    reduced = copy.deepcopy(network).to(torch.bfloat16)
    return NetworkRun(forward(reduced, x.to(torch.bfloat16)).compute, "bfloat16")


def training_step(
    network: nn.Module,
    x: torch.Tensor,
    precision: str = "float32",
    semantic_loss: SemanticLoss | None = None,
    counted: nn.Module | None = None,
) -> NetworkRun:
    """One step on the same patches: forward, L1 loss, semantic loss if given, backward, Adam.

    Args:
        network, x, precision, counted: see `forward`.
        semantic_loss: of SR and HR.
    """
    step = make_step(network, x.device, precision, semantic_loss)
    with torch.no_grad():
        target = torch.rand_like((counted or network)(x))
    if counted is None:
        return NetworkRun(lambda: step(x, target), precision)
    counted_step = make_step(counted, x.device, precision, semantic_loss)
    return NetworkRun(lambda: step(x, target), precision, lambda: counted_step(x, target))


def make_step(
    network: nn.Module,
    device: torch.device,
    precision: str = "float32",
    semantic_loss: SemanticLoss | None = None,
) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """The training step of LR and HR patches; see `training_step`."""
    optimizer = torch.optim.Adam(network.train().parameters(), 1e-5)

    def step(x: torch.Tensor, target: torch.Tensor) -> None:
        with autocast(device, precision):
            output = network(x)
        output = output.float()
        loss = (output - target).abs().mean()
        if semantic_loss is not None:
            loss = loss + semantic_loss(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step
