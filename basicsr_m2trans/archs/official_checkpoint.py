"""Reads the checkpoints that the authors' own training code writes (repository eezkni/M2Trans)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from basicsr_m2trans.archs.m2trans_arch import BRANCH_LEVELS, M2Trans
from basicsr_m2trans.errors import InputError
from basicsr_m2trans.weights import as_weights, check_weights, read_checkpoint

# Mean shift layers that the authors' network carries but never applies.
UNUSED_PREFIXES = ("sub_mean.", "add_mean.")


def read_official_checkpoint(path: str | Path, num_block: int = 8) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights under this project's names, and the arguments of the `M2Trans` that they belong to.

    Args:
        path: file with the weights under `model_state_dict`, named with or without `module.`.
        num_block: how many blocks the network must have; the paper's have 8.

    Raises:
        InputError: the file cannot be read, has no `model_state_dict`, or its weights are not those of an M2Trans;
            every name or shape that does not fit is listed.
    """
    checkpoint = read_checkpoint(path)
    if not isinstance(checkpoint, dict) or "model_state_dict" not in checkpoint:
        found = ", ".join(map(str, checkpoint)) if isinstance(checkpoint, dict) else type(checkpoint).__name__
        raise InputError(f"{path} is not a checkpoint of the authors' code: no `model_state_dict`, but {found[:200]}")
    named = as_weights(checkpoint["model_state_dict"], f"{path}: model_state_dict")
    weights = {name.removeprefix("module."): value for name, value in named.items()}
    if len(weights) < len(named):
        raise InputError(f"{path} holds weights twice, with and without `module.`; keep one of each")
    weights = {name: value for name, value in weights.items() if not name.startswith(UNUSED_PREFIXES)}
    odd = [name for name, value in weights.items() if not (value.is_floating_point() and value.isfinite().all())]
    if odd:
        raise InputError(f"{path} has weights that are not finite floating-point numbers: {', '.join(odd[:5])}")
    settings = infer_settings(weights, str(path)) | {"num_block": num_block}
    with torch.device("meta"):
        expected = M2Trans(**settings).state_dict()
    check_weights(weights, expected, str(path), f"M2Trans({', '.join(f'{k}={v!r}' for k, v in settings.items())})")
    return weights, settings


def infer_settings(weights: dict[str, Tensor], source: str) -> dict[str, Any]:
    """Arguments of `M2Trans` read off the shapes of its weights, but for the number of blocks.

    Raises:
        InputError: the layers that tell are not there.
    """
    try:
        num_feat, num_in_ch = weights["head.weight"].shape[:2]
        # The authors' network is the one of the paper, with wavelets, unless its second branch is not widened.
        widened = weights["body.0.attn2.qkv_conv.weight"].shape[1] // (num_feat // len(BRANCH_LEVELS))
        last = max((int(name.split(".")[1]), name) for name in weights if name.startswith("tail."))[1]
        steps = [
            weights[f"tail.{index}.weight"].shape[0] // num_feat for index in (0, 3) if f"tail.{index}.bias" in weights
        ]
        return {
            "upscale": {(4,): 2, (9,): 3, (4, 4): 4}[tuple(steps)],
            "num_in_ch": num_in_ch,
            "num_out_ch": weights[last].shape[0],
            "num_feat": num_feat,
            "wavelet": "none" if widened == 1 else "haar",
        }
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise InputError(f"{source} does not hold the weights of an M2Trans: {error!r}") from error
