"""From a file of weights to the network that they belong to."""

import copy
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from basicsr_m2trans.archs.global_skip_arch import GlobalSkip
from basicsr_m2trans.archs.lookup import input_channels, network_class
from basicsr_m2trans.checkpoints.weights import as_weights, check_weights, read_checkpoint
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.yaml_file import OptionFile

# Networks that this package ships (docs/models.md): NAME.safetensors, and SHA256SUMS of them.
PRETRAINED = Path(__file__).parents[1] / "pretrained"


class TrainedNetwork(NamedTuple):
    """A network in evaluation mode with its trained weights.

    Attributes:
        network: on the CPU.
        architecture: its registered name.
        scale: how many times it upscales.
        channels: of its input and output images, 3 (RGB) or 1 (grey).
        settings: `network_g`, from which the network was built.
    """

    network: nn.Module
    architecture: str
    scale: int
    channels: int
    settings: dict[str, Any]


def shipped_models(folder: Path = PRETRAINED) -> list[str]:
    """Names of the networks that come with this package."""
    return sorted(path.stem for path in folder.glob("*.safetensors"))


def find_model(model: str | Path, folder: Path = PRETRAINED) -> Path:
    """The file that `model` means: a path, or the name of a network in `folder` (`m2trans-x2`).

    Raises:
        InputError: there is neither, and the names in `folder` are listed; or the file in `folder`
            has changed.
    """
    if Path(model).is_file():
        return Path(model)
    path = folder / f"{model}.safetensors"
    if path.is_file():
        sums_file = folder / "SHA256SUMS"
        sums = sums_file.read_text(encoding="utf-8").splitlines() if sums_file.is_file() else []
        if f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" not in sums:
            raise InputError(
                f"{path} is not the file that came with this package; install the package again"
            )
        return path
    names = ", ".join(shipped_models(folder)) or "none yet"
    raise InputError(
        f"model {model}: there is no such file, and no network of that name comes with this "
        f"package (it has: {names}); name a checkpoint, such as "
        "experiments/NAME/models/net_g_latest.pth"
    )


def load_network(
    path: Path, scale: int | None = None, arch: str | None = None, options: Path | None = None
) -> TrainedNetwork:
    """Build the network of a BasicSR checkpoint with its weights, `params_ema` if it has them.

    The network's settings are those of the option file, else those that `M2TransModel` has written
    into the checkpoint, else `arch` with its default settings and `scale`.

    Args:
        path: holds `params` or `params_ema`, and perhaps `network_g`.
        scale: the network's, where the settings do not have it.
        arch: its registered name, such as M2Trans or EDSR, where there are no settings.
        options: an option file with a section `network_g`.

    Raises:
        InputError: the file cannot be read, its settings are unknown or contradict the arguments,
            or its weights are those of another network.
    """
    entries = _read_entries(path)
    network_g, upscale = _settings(entries, path, scale, arch, options)
    network = build_network(network_g, path)
    _load_weights(network, network_g["type"], entries, path)
    channels = input_channels(network_g)
    if channels not in (1, 3):
        raise InputError(
            f"{path}: the network takes images of {channels} channels, neither grey nor RGB"
        )
    return TrainedNetwork(network, network_g["type"], upscale, channels, network_g)


def build_network(network_g: dict[str, Any], source: Path | str) -> nn.Module:
    """An untrained network in evaluation mode from an option file's section `network_g`.

    Raises:
        InputError: the architecture does not take these settings; `source` is named.
    """
    settings = copy.deepcopy(network_g)
    name = settings.pop("type")
    try:
        architecture = GlobalSkip if name == GlobalSkip.__name__ else network_class(name)
        return architecture(**settings).eval()
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{source}: {name} cannot be built ({error}); give its option file by --opt"
        ) from error


def trained_network(network_g: dict[str, Any], checkpoint: Path | None) -> nn.Module:
    """The network of a section `network_g`, with a checkpoint's weights as `load_network` has them.

    `checkpoint` is None for a network without parameters. Errors as `load_network`.
    """
    network = build_network(network_g, f"network_g of {network_g['type']}")
    if checkpoint is not None:
        _load_weights(network, network_g["type"], _read_entries(checkpoint), checkpoint)
    return network


def _read_entries(path: Path) -> Mapping[str, Any]:
    entries = read_checkpoint(path)
    if isinstance(entries, dict) and "model_state_dict" in entries:
        raise InputError(
            f"{path} is a checkpoint of the authors' code; run m2trans convert {path} OUT.pth and "
            "name OUT.pth"
        )
    if not isinstance(entries, dict) or not entries.keys() & {"params", "params_ema"}:
        raise InputError(f"{path} has no entry 'params'; name a file of experiments/NAME/models")
    return entries


def _load_weights(
    network: nn.Module, architecture: str, entries: Mapping[str, Any], path: Path
) -> None:
    weights = as_weights(entries.get("params_ema", entries.get("params")), str(path))
    check_weights(weights, network.state_dict(), str(path), architecture)
    network.load_state_dict(weights)


def _settings(
    entries: Mapping[str, Any],
    path: Path,
    scale: int | None,
    arch: str | None,
    options: Path | None,
) -> tuple[dict[str, Any], int]:
    """The section `network_g` of the checkpoint's network, and its scale."""
    source = path if options is None else options
    network_g = entries.get("network_g") if options is None else network_section(options)
    if network_g is None:
        if scale is None or arch is None:
            arguments = {"--scale": scale, "--arch": arch}
            missing = [option for option, value in arguments.items() if value is None]
            raise InputError(
                f"{path} holds weights alone, so give {' and '.join(missing)} for a network with "
                "default settings (e.g. --scale 2 --arch M2Trans), or its option file by --opt"
            )
        return {"type": arch, "upscale": scale}, scale
    if not isinstance(network_g, dict) or not isinstance(network_g.get("type"), str):
        raise InputError(
            f"{source}: network_g names no type of network; give the option file by --opt"
        )
    upscale = network_g.get("upscale", network_g.get("scale", scale))
    if not isinstance(upscale, int) or upscale < 1:
        raise InputError(f"{source}: network_g has no upscale; give it by --scale")
    if scale not in (None, upscale):
        raise InputError(
            f"--scale {scale}: {source} says that the network upscales x{upscale}; leave --scale "
            "out"
        )
    if arch not in (None, network_g["type"]):
        raise InputError(
            f"--arch {arch}: {source} says that the network is {network_g['type']}; leave --arch "
            "out"
        )
    return network_g, upscale


def network_section(path: Path) -> dict[str, Any]:
    """The section `network_g` of a training or test option file.

    Raises:
        InputError: the file cannot be read or has no such section.
    """
    network = OptionFile.read(path).value("network_g")
    if not isinstance(network, dict) or "type" not in network:
        raise InputError(
            f"option file {path} has no section network_g with a type; add the network's settings"
        )
    return network
