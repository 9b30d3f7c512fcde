"""Activation checkpointing of any network: memory for time (Chen et al. 2016, arXiv 1604.06174)."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from basicsr_m2trans.utils.errors import InputError


def checkpoint_blocks(network: nn.Module) -> None:
    """Make the repeated blocks of `network` keep only their inputs, and compute the rest again in
    the backward pass.

    Gradients are the same, to the bit where the operations repeat to the bit: random numbers,
    autocast and running statistics are as in the first pass. Names of parameters and evaluation
    without gradient do not change.

    Args:
        network: changed in place.

    Raises:
        InputError: it has no repeated blocks.
    """
    blocks = repeated_blocks(network)
    if not blocks:
        raise InputError(
            f"train: checkpointing finds no repeated blocks in {type(network).__name__} (a "
            "Sequential or ModuleList of blocks of one class); write false"
        )
    for block in blocks:
        block.forward = functools.partial(_forward_checkpointed, block, block.forward)


def repeated_blocks(network: nn.Module) -> list[nn.Module]:
    """Find the outermost blocks that repeat: the members of each `Sequential` or `ModuleList` of
    one composite class.

    In M2Trans these are the CFTMs, in EDSR the residual blocks, in SwinIR the residual Swin
    transformer blocks.
    """
    children = list(network.children())
    alike = len(children) > 1 and len({type(child) for child in children}) == 1
    if alike and isinstance(network, nn.Sequential | nn.ModuleList) and any(children[0].children()):
        return children
    return [block for child in children for block in repeated_blocks(child)]


def _forward_checkpointed(
    block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    if torch.compiler.is_compiling():
        # torch.compile takes no contexts and needs none: a graph moves running statistics once, at
        # its end.
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return contextlib.nullcontext(), _statistics_kept(block)

    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


@contextlib.contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Let running statistics move in copies: the first pass has already counted this batch."""
    norms = [module for module in block.modules() if getattr(module, "track_running_stats", False)]
    kept = [(norm, name, buffer) for norm in norms for name, buffer in norm.named_buffers()]
    for norm, name, buffer in kept:
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, name, buffer in kept:
            setattr(norm, name, buffer)
