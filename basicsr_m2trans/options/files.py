"""What an option file names and this machine does not have."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from basicsr_m2trans.checkpoints.networks import find_model, shipped_models
from basicsr_m2trans.options.relations import section
from basicsr_m2trans.utils.errors import Problem

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
            if not isinstance(dataset.get(key), str):
                continue  # some of BasicSR's data sets take lists of folders
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


def find_missing_gpus(opt: dict[str, Any]) -> Iterator[Problem]:
    """GPUs that the option file asks for and PyTorch does not find."""
    import torch

    if num_gpu(opt) > 0 and not torch.cuda.is_available():
        text = f"is {opt['num_gpu']}, but PyTorch finds no GPU here"
        remedy = "write auto, or add `--force_yml num_gpu=0` to run on the CPU"
        yield Problem(("num_gpu",), text, remedy)


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
    files = ("data.mdb", "meta_info.txt") if lmdb else ()
    absent = " and no ".join(name for name in files if not (path / name).is_file())
    return f"names {path}, which is not an LMDB: it holds no {absent}" if absent else None


def _model_files(opt: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """Key, path and remedy of the files that the model reads."""
    paths = section(opt, "path")
    if paths.get("resume_state"):
        # A resumed run takes its networks from the interrupted one and reads none named here.
        remedy = (
            "name a .state file in experiments/NAME/training_states, or write ~ and run with "
            "--auto_resume"
        )
        yield ("path", "resume_state"), paths["resume_state"], remedy
    else:
        for key, path in paths.items():
            if key.startswith("pretrain_network"):
                yield ("path", key), path, _network_remedy(path)
    encoder = section(opt, "train", "semantic_opt", "encoder")
    checkpoint = encoder.get("checkpoint")
    remedy = f"write the path of the checkpoint of {encoder.get('type')} there"
    if encoder.get("type") == "MedCLIPEncoder":
        from basicsr_m2trans.encoders.medclip import CHECKPOINT_URL

        remedy = f"run `m2trans weights medclip`, or save {CHECKPOINT_URL} as {checkpoint}"
    yield ("train", "semantic_opt", "encoder", "checkpoint"), checkpoint, remedy


def _network_remedy(path: Any) -> str:
    trained = "name a trained network (experiments/NAME/models/net_g_*.pth)"
    if path in shipped_models():
        return f"{trained}, or, for the network that comes with this package, {find_model(path)}"
    convert = f"make one from the authors' with m2trans convert OFFICIAL.pt {path}"
    return f"{trained}, {convert}, or write ~ for random weights"
