"""A training step for which a GPU does not have enough memory."""

import functools
from collections.abc import Callable
from typing import Any

import torch

from basicsr_m2trans.utils.errors import InputError

# A method of `M2TransModel` that takes the iteration.
Step = Callable[[Any, int], None]


def explaining_out_of_memory(step: Step) -> Step:
    """A training step whose `torch.OutOfMemoryError` becomes an `InputError` with a remedy."""

    @functools.wraps(step)
    def explained(model: Any, current_iter: int) -> None:
        try:
            step(model, current_iter)
        except torch.OutOfMemoryError as error:
            raise InputError(
                _explanation(model, current_iter, str(error).splitlines()[0])
            ) from error

    return explained


def _explanation(model: Any, current_iter: int, message: str) -> str:
    options = model.training_options
    height, width = model.gt.shape[-2:]
    savings = []
    if options.accumulate < len(model.gt):
        savings.append(f"accumulate up to {len(model.gt)} (now {options.accumulate})")
    if not options.checkpointing:
        savings.append("checkpointing: true")
    if options.amp is None:
        savings.append("amp: bf16")
    remedy = f"set train: {', '.join(savings)}, or " if savings else ""
    return (
        f"training stopped at iteration {current_iter}: the GPU does not have enough memory for a "
        f"batch of {len(model.gt)} with HR patches of {width}x{height} ({message}). Last good "
        f"checkpoint: {model.newest_checkpoint}. To need less, {remedy}lower datasets: train: "
        "batch_size_per_gpu or gt_size; --auto_resume goes on from the checkpoint"
    )
