"""Reads the checkpoints of the authors of M2Trans, ELAN and ESRT.

Each method is told by a weight that only it has; the shapes of its weights give its settings.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from basicsr_m2trans.archs.elan_arch import ELAN
from basicsr_m2trans.archs.esrt_arch import ESRT
from basicsr_m2trans.archs.m2trans_arch import NUM_BRANCHES, M2Trans
from basicsr_m2trans.checkpoints.weights import as_weights, check_weights, read_checkpoint
from basicsr_m2trans.utils.errors import InputError

Weights = dict[str, Tensor]


def read_official_checkpoint(
    path: str | Path, num_block: int | None = None
) -> tuple[Weights, dict[str, Any]]:
    """The weights under this project's names, and the section `network_g` of their network.

    Args:
        path: file with the weights or with an entry `model_state_dict` of them, named with or
            without `module.` (repositories eezkni/M2Trans, xindongzhang/ELAN, luissen/ESRT).
        num_block: how many blocks the network must have; by default M2Trans has the paper's 8, the
            others as many as the file holds.

    Returns:
        The weights, and `type` with the arguments of that network. ELAN's window sizes and range
        are in no weight: they are those of its published option files.

    Raises:
        InputError: the file cannot be read, is of none of the methods, or its weights do not fit
            the network; every name or shape that does not fit is listed.
    """
    weights = _plain_names(read_checkpoint(path), str(path))
    method = next((method for method in METHODS if method.told_by in weights), None)
    if method is None:
        names = ", ".join(method.network.__name__ for method in METHODS)
        first = ", ".join(list(weights)[:3])
        raise InputError(
            f"{path} is of none of {names}, whose files can be converted: its weights begin with "
            f"{first}"
        )
    name = method.network.__name__
    weights = {key: value for key, value in weights.items() if not re.search(method.unused, key)}
    odd = [
        key
        for key, value in weights.items()
        if not value.isfinite().all()
        or not (value.is_floating_point() or key.endswith("num_batches_tracked"))
    ]
    if odd:
        raise InputError(
            f"{path} has weights that are not finite floating-point numbers: {', '.join(odd[:5])}"
        )
    try:
        settings = method.settings(weights)
        if num_block is not None:
            settings["num_block"] = num_block
        with torch.device("meta"):
            expected = method.network(**settings).state_dict()
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise InputError(f"{path} does not hold the weights of {name}: {error!r}") from error
    arguments = ", ".join(f"{key}={value!r}" for key, value in settings.items())
    check_weights(weights, expected, str(path), f"{name}({arguments})")
    return weights, {"type": name} | settings


def _plain_names(checkpoint: Any, source: str) -> Weights:
    """The named weights of a checkpoint without DataParallel's `module.`."""
    if isinstance(checkpoint, dict) and not {"params", "params_ema"}.isdisjoint(checkpoint):
        raise InputError(
            f"{source} already has BasicSR's layout; name it under path: pretrain_network_g as it "
            "is"
        )
    if isinstance(checkpoint, dict) and "model_state_dict" in checkpoint:
        checkpoint, source = checkpoint["model_state_dict"], f"{source}: model_state_dict"
    named = as_weights(checkpoint, source)
    weights = {name.removeprefix("module."): value for name, value in named.items()}
    if len(weights) < len(named):
        raise InputError(
            f"{source} holds weights twice, with and without `module.`; keep one of each"
        )
    return weights


def m2trans_settings(weights: Weights) -> dict[str, Any]:
    """The arguments of an `M2Trans` whose reconstruction is the paper's."""
    num_feat, num_in_ch = weights["head.weight"].shape[:2]
    step = math.isqrt(weights["tail.0.weight"].shape[0] // num_feat)
    upscale, last = (4, "tail.6.weight") if "tail.6.weight" in weights else (step, "tail.3.weight")
    # Without wavelets every branch is as wide as its group of channels.
    narrow = weights["body.0.attn4.qkv_conv.weight"].shape[1] == num_feat // NUM_BRANCHES
    return {
        "upscale": upscale,
        "num_in_ch": num_in_ch,
        "num_out_ch": weights[last].shape[0],
        "num_feat": num_feat,
        "num_block": 8,
        "wavelet": "none" if narrow else "haar",
    }


def _elan_settings(weights: Weights) -> dict[str, Any]:
    num_feat, num_in_ch = weights["head.0.weight"].shape[:2]
    groups = _count(weights, r"body\.(\d+)\.")
    per_group = _count(weights, r"body\.0\.modules_lfe\.lfe_(\d+)\.")
    return {
        # Input and output have as many channels, since the mean that is subtracted is added again.
        "upscale": math.isqrt(weights["tail.0.weight"].shape[0] // num_in_ch),
        "num_in_ch": num_in_ch,
        "num_out_ch": num_in_ch,
        "num_feat": num_feat,
        "num_block": groups * per_group,
        "num_share": per_group - 1,
        "expansion": weights["body.0.modules_lfe.lfe_0.conv0.shift_conv.conv1x1.weight"].shape[0]
        // num_feat,
        "window_sizes": [4, 8, 16],
        "img_range": 255.0,
    }


def _esrt_settings(weights: Weights) -> dict[str, Any]:
    num_feat, num_in_ch = weights["head.0.weight"].shape[:2]
    step = math.isqrt(weights["tail.0.0.weight"].shape[0] // num_feat)
    return {
        "upscale": step**2 if "tail.0.2.weight" in weights else step,
        "num_in_ch": num_in_ch,
        "num_out_ch": weights["tail.1.weight"].shape[0],
        "num_feat": num_feat,
        "num_block": _count(weights, r"body\.(\d+)\."),
    }


def _count(weights: Weights, pattern: str) -> int:
    """How many numbers, from 0 to the highest, `pattern` finds at the beginning of the names."""
    return 1 + max(int(found[1]) for name in weights if (found := re.match(pattern, name)))


@dataclass(frozen=True)
class Method:
    """What tells a method's checkpoints from the others', and what to do with them.

    Args:
        network: the network here that takes the weights.
        told_by: name of a weight that every checkpoint of the method has and no other's.
        settings: reads the network's arguments off the weights; raises KeyError, ValueError,
            IndexError or ZeroDivisionError where layers that tell are missing.
        unused: pattern of the names of weights that the network here does without: those that the
            authors' network never applies, and the mean colour, which `ELAN` has as a constant.
    """

    network: type[nn.Module]
    told_by: str
    settings: Callable[[Weights], dict[str, Any]]
    unused: str


MEANS = r"^(sub_mean|add_mean)\."
METHODS = (
    Method(M2Trans, "body.0.attn1.qkv_conv.weight", m2trans_settings, MEANS),
    Method(ELAN, "body.0.modules_gmsa.gmsa_0.project_inp.0.weight", _elan_settings, MEANS),
    Method(
        ESRT,
        "body.0.encoder1.encoder.layer1.conv.weight",
        _esrt_settings,
        r"\.(encoder|decoder_low|decoder_high|alise)\.weight1\.scale$",
    ),
)
