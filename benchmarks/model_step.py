"""The training step of the model that option files describe, on made-up patches and captions."""

import logging
from collections.abc import Callable
from typing import Any

import torch

import basicsr_m2trans


def model_step(
    opt: dict[str, Any], batch: int, side: int, device: torch.device
) -> Callable[[], None]:
    """One step of the model of a training, with all that its options ask for; weights are new.

    Args:
        opt: an option file's sections `model_type`, `network_g` and `train`, and `scale`; the
            others do not matter.
        batch: number of pairs.
        side: of the LR patches.
        device: that computes the step.

    Raises:
        InputError: an option cannot be used.
    """
    basicsr_m2trans.register()
    from basicsr.models import build_model

    logging.disable(logging.INFO)  # BasicSR prints every network
    one_process = {
        "num_gpu": int(device.type == "cuda"),
        "dist": False,
        "rank": 0,
        "world_size": 1,
        "manual_seed": 0,
    }
    model = build_model(opt | {"path": {}, "is_train": True} | one_process)
    hr_side = opt["scale"] * side
    model.feed_data(
        {
            "lq": torch.rand(batch, 3, side, side),
            "gt": torch.rand(batch, 3, hr_side, hr_side),
            "text": [f"ultrasound image number {number}" for number in range(batch)],
        }
    )
    return lambda: model.optimize_parameters(1)
