"""Weights and settings of any network as a safetensors file, which cannot hold code."""

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch

from basicsr_m2trans.checkpoints.networks import load_network
from basicsr_m2trans.checkpoints.weights import read_safetensors
from basicsr_m2trans.inference.upscaler import DISCLAIMER
from basicsr_m2trans.utils.atomic import write_atomic
from basicsr_m2trans.utils.errors import InputError


def export_safetensors(
    checkpoint: Path,
    path: Path,
    scale: int | None = None,
    arch: str | None = None,
    options: Path | None = None,
    *,
    half: bool = False,
    notes: Mapping[str, str] | None = None,
) -> int:
    """Write the weights of a checkpoint, and the network's settings as JSON beside them.

    Wherever this package takes a checkpoint, it takes the file too (`weights.read_checkpoint`).

    Args:
        checkpoint, scale, arch, options: see `load_network`.
        path: the file to write or replace; it ends in .safetensors.
        half: store the weights as float16; they are computed with as float32.
        notes: what else the file says of itself, such as its data and licence; those of a
            safetensors `checkpoint` are kept.

    Returns:
        How many numbers the file holds.

    Raises:
        InputError: see `load_network`; or a weight is too large for 16 bits.
        OSError: the file cannot be written.
    """
    trained = load_network(checkpoint, scale, arch, options)
    weights = {name: value.contiguous() for name, value in trained.network.state_dict().items()}
    if half:
        weights = {
            name: value.half() if value.is_floating_point() else value
            for name, value in weights.items()
        }
        overflown = [name for name, value in weights.items() if not torch.isfinite(value).all()]
        if overflown:
            raise InputError(
                f"{checkpoint}: weights of {overflown[0]} do not fit into float16; leave --fp16 out"
            )
    own = {"format": "pt", "network_g": json.dumps(trained.settings), "use": DISCLAIMER}
    notes = dict(notes or {})
    if notes.keys() & own.keys():
        raise InputError(
            f"notes {', '.join(notes.keys() & own.keys())}: the file says these itself; choose "
            "other names"
        )
    kept = read_safetensors(checkpoint)[1] if checkpoint.suffix == ".safetensors" else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, safetensors.torch.save(weights, kept | notes | own))
    return sum(value.numel() for value in weights.values())
