"""Weights and settings of any network as a safetensors file, which cannot hold code."""

import json
from pathlib import Path

from basicsr_m2trans.atomic import write_atomic
from basicsr_m2trans.inference.network_file import load_network
from basicsr_m2trans.inference.outputs import DISCLAIMER


def export_safetensors(
    checkpoint: Path, path: Path, scale: int | None = None, arch: str | None = None, options: Path | None = None
) -> int:
    """Write the weights of a checkpoint under their own names, and the network's settings as JSON beside them.

    Wherever this package takes a checkpoint, it takes the file too (`weights.read_checkpoint`).

    Args:
        checkpoint, scale, arch, options: see `inference.network_file.load_network`; of `params` and `params_ema` the
            same is taken as there.
        path: the file to write or replace; it ends in .safetensors.

    Returns:
        How many numbers the file holds.

    Raises:
        InputError: see `load_network`.
        OSError: the file cannot be written.
    """
    import safetensors.torch

    trained = load_network(checkpoint, scale, arch, options)
    weights = {name: value.contiguous() for name, value in trained.network.state_dict().items()}
    metadata = {"format": "pt", "network_g": json.dumps(trained.settings), "use": DISCLAIMER}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, safetensors.torch.save(weights, metadata))
    return sum(value.numel() for value in weights.values())
