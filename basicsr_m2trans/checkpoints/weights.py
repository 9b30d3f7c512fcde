"""Reading files of weights without running code from them, and checking them name by name."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from basicsr_m2trans.utils.errors import InputError


def read_checkpoint(file: str | Path | IO[bytes], source: str | None = None) -> Any:
    """Read tensors and plain Python values that `torch.save` has written, or safetensors.

    Args:
        file: a path or an open binary file; a path that ends in .safetensors is read as that.
        source: the file's name in messages; default the path.

    Returns:
        What the file holds. Of a safetensors file: its weights as `params`, and the settings that
        `m2trans export` has put beside them as `network_g`.

    Raises:
        InputError: no such file, a damaged one, or one that asks for other Python objects, which is
            refused because unpickling them can run any code.
    """
    source = source or str(file)
    if isinstance(file, (str, Path)) and not Path(file).is_file():
        raise InputError(f"there is no file {source}")
    if isinstance(file, (str, Path)) and Path(file).suffix == ".safetensors":
        return _safetensors_checkpoint(Path(file))
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{source} cannot be read: it is damaged, or holds Python objects beside weights, "
            "which could run code and are refused; get it from a source you trust, or save its "
            "weights alone"
        ) from error
    except PermissionError as error:
        raise InputError(f"{source} cannot be read ({error.strerror})") from error
    except Exception as error:  # torch.load raises many types for a damaged file
        raise InputError(
            f"{source} cannot be read: it is damaged or not written by torch.save; get it again"
        ) from error


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file that exists.

    Raises:
        InputError: it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return tensors, file.metadata() or {}
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    except SafetensorError as error:
        raise InputError(
            f"{path} cannot be read: it is damaged or no safetensors file; get it again"
        ) from error


def _safetensors_checkpoint(path: Path) -> dict[str, Any]:
    weights, metadata = read_safetensors(path)
    if "network_g" not in metadata:
        return {"params": weights}
    try:
        return {"params": weights, "network_g": json.loads(metadata["network_g"])}
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} cannot be read: its settings network_g are damaged; get it again"
        ) from error


def as_weights(value: Any, source: str) -> dict[str, Tensor]:
    """`value` itself if it maps names to tensors, else an InputError."""
    kind = f"a {type(value).__name__}"
    if isinstance(value, dict):
        if value and all(isinstance(item, Tensor) for item in value.values()):
            return value
        kind = f"the entries {', '.join(map(str, value))}"
    raise InputError(f"{source} does not hold named weights but {kind}")


def check_weights(
    given: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str, network: str
) -> None:
    """Compare names and shapes of weights, since loading them partly would leave the rest random.

    Raises:
        InputError: a weight of `source` is missing, left over or of another shape; the first few
            of each are named.
    """
    problems = [f"missing: {name}" for name in expected if name not in given]
    problems += [f"not part of {network}: {name}" for name in given if name not in expected]
    problems += [
        f"{name} has shape {tuple(given[name].shape)}, not {tuple(value.shape)}"
        for name, value in expected.items()
        if name in given and given[name].shape != value.shape
    ]
    if problems:
        more = f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
        listed = "\n  ".join(problems[:10])
        raise InputError(f"{source} does not hold the weights of {network}:\n  {listed}{more}")
