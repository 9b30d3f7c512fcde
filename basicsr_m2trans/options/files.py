"""What an option file names and this machine does not have."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from basicsr_m2trans.checkpoints.networks import find_model, shipped_models
from basicsr_m2trans.options.building import build_network
from basicsr_m2trans.options.relations import section
from basicsr_m2trans.utils.errors import InputError, Problem

FILE_KEYS = ("dataroot_gt", "dataroot_lq", "meta_info_file", "captions")


def find_missing_files(opt: dict[str, Any]) -> Iterator[Problem]:
    """Files and folders that do not exist.

    Checked are every data set's `dataroot_gt` and `dataroot_lq` (a folder; for LMDB one that holds
    data.mdb and meta_info.txt), `meta_info_file` and `captions`, the networks and the resume state
    under `path`, and the checkpoint of the semantic loss's encoder. Relative paths start at the
    current directory.
    """
    for phase, dataset in section(opt, "datasets").items():
        for key in FILE_KEYS:
            if not isinstance(
                dataset.get(key), str
            ):  # some of BasicSR's data sets take lists of folders
                continue
            path = Path(dataset[key]).expanduser()
            if key.startswith("dataroot"):
                text = _folder_problem(path, is_lmdb(dataset))
            else:
                text = None if path.is_file() else f"names the file {path}, which does not exist"
            if text:
                prepared = path.parent.parent if path.parent.name == "LR_bicubic" else path.parent
                remedy = f"m2trans prepare YOUR_IMAGES {prepared} --scales 2 3 4"
                yield Problem(("datasets", phase, key), text, remedy)
    for place, file, remedy in _model_files(opt):
        if isinstance(file, str) and not Path(file).expanduser().exists():
            yield Problem(place, f"names the file {file}, which does not exist", remedy)


def find_unfit_weights(opt: dict[str, Any]) -> Iterator[Problem]:
    """Networks to start from that are damaged, no checkpoints of BasicSR, or of other settings than
    `network_g`.
    """
    from basicsr_m2trans.checkpoints.weights import read_checkpoint

    paths = section(opt, "path")
    for key, value in paths.items():
        if (
            not key.startswith("pretrain_network")
            or not isinstance(value, str)
            or paths.get("resume_state")
        ):
            continue
        path = Path(value).expanduser()
        if not path.exists():
            continue
        try:
            checkpoint = read_checkpoint(path)
        except InputError as error:
            yield Problem(
                ("path", key), f"cannot be used: {error}", "name a file of experiments/NAME/models"
            )
            continue
        entries = list(checkpoint) if isinstance(checkpoint, dict) else [type(checkpoint).__name__]
        wanted = paths.get(key.replace("pretrain_network", "param_key"), "params")
        if wanted is not None and wanted not in entries and "params" not in entries:
            remedy = "name a file of experiments/NAME/models"
            if "model_state_dict" in entries:
                remedy = (
                    f"it is a checkpoint of the authors' code: run m2trans convert {value} OUT.pth "
                    "and name OUT.pth"
                )
            yield Problem(("path", key), f"cannot be used: {value} has no entry {wanted!r}", remedy)
        elif key == "pretrain_network_g" and paths.get("strict_load_g", True):
            weights = (
                checkpoint
                if wanted is None
                else checkpoint[wanted if wanted in entries else "params"]
            )
            yield from _misfit_problems(opt, weights, value)


def _misfit_problems(opt: dict[str, Any], weights: Any, source: str) -> Iterator[Problem]:
    """Weights that BasicSR would refuse to load into the network, after it has made the folder of
    the run.
    """
    from basicsr_m2trans.checkpoints.weights import as_weights, check_weights

    network = section(opt, "network_g")
    if "type" not in network:
        return
    try:
        given = {
            name.removeprefix("module."): value
            for name, value in as_weights(weights, source).items()
        }
        check_weights(given, build_network(network).state_dict(), source, network["type"])
    except (
        ImportError,
        OSError,
    ):  # this machine cannot build the network, so nothing is known of its weights
        return
    except InputError as error:
        remedy = "name a network of the same settings as network_g, or write ~ for random weights"
        yield Problem(("path", "pretrain_network_g"), f"cannot be used: {error}", remedy)


def find_missing_gpus(opt: dict[str, Any]) -> Iterator[Problem]:
    """GPUs that the option file asks for and PyTorch does not find."""
    import torch

    if num_gpu(opt) > 0 and not torch.cuda.is_available():
        text = f"is {opt['num_gpu']}, but PyTorch finds no GPU here"
        yield Problem(
            ("num_gpu",), text, "write auto, or add `--force_yml num_gpu=0` to run on the CPU"
        )


def num_gpu(opt: dict[str, Any]) -> int:
    """How many GPUs a run takes."""
    import torch

    number = opt.get("num_gpu", 0)
    return torch.cuda.device_count() if number == "auto" else number


def is_lmdb(dataset: dict[str, Any]) -> bool:
    """Whether a data set is in LMDB folders."""
    return section(dataset, "io_backend").get("type") == "lmdb"


def _folder_problem(path: Path, lmdb: bool) -> str | None:
    if not path.is_dir():
        return f"names the folder {path}, which does not exist"
    absent = [
        name for name in ("data.mdb", "meta_info.txt") if lmdb and not (path / name).is_file()
    ]
    return (
        f"names {path}, which is no LMDB, it holds no {' and no '.join(absent)}" if absent else None
    )


def _model_files(opt: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """Key, path and remedy of the files that the model reads."""
    paths = section(opt, "path")
    if paths.get("resume_state"):
        # A resumed run takes its networks from the interrupted one and reads none of those named
        # here.
        remedy = (
            "name a .state file in experiments/NAME/training_states, or write ~ and run with "
            "--auto_resume"
        )
        yield ("path", "resume_state"), paths["resume_state"], remedy
    else:
        for key, path in paths.items():
            if key.startswith("pretrain_network"):
                remedy = (
                    f"make one from the authors' with m2trans convert OFFICIAL.pt {path}, or write "
                    "~ for random weights"
                )
                if path in shipped_models():
                    remedy = f"or, for the network that comes with this package, {find_model(path)}"
                remedy = f"name a trained network (experiments/NAME/models/net_g_*.pth), {remedy}"
                yield ("path", key), path, remedy
    encoder = section(opt, "train", "semantic_opt", "encoder")
    checkpoint = encoder.get("checkpoint")
    remedy = f"write the path of the checkpoint of {encoder.get('type')} there"
    if encoder.get("type") == "MedCLIPEncoder":
        from basicsr_m2trans.encoders.medclip import CHECKPOINT_URL

        remedy = f"run `m2trans weights medclip`, or save {CHECKPOINT_URL} as {checkpoint}"
    yield ("train", "semantic_opt", "encoder", "checkpoint"), checkpoint, remedy
