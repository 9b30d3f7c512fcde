"""What an option file names and this machine does not have."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from basicsr_m2trans.errors import InputError
from basicsr_m2trans.option_schema.relations import PAIRED, section
from basicsr_m2trans.option_schema.values import Problem

FILE_KEYS = ("dataroot_gt", "dataroot_lq", "meta_info_file", "captions")


def find_missing_files(opt: dict[str, Any]) -> Iterator[Problem]:
    """Files and folders that do not exist.

    Checked are every data set's `dataroot_gt` and `dataroot_lq` (a folder; for LMDB one that holds data.mdb and
    meta_info.txt), `meta_info_file` and `captions`, the networks and the resume state under `path`, and the
    checkpoint of the semantic loss's encoder. Relative paths start at the current directory.
    """
    for phase, dataset in section(opt, "datasets").items():
        for key in FILE_KEYS:
            if not isinstance(dataset.get(key), str):  # some of BasicSR's data sets take lists of folders
                continue
            path = Path(dataset[key]).expanduser()
            if key.startswith("dataroot"):
                text = _folder_problem(path, _is_lmdb(dataset))
            else:
                text = None if path.is_file() else f"names the file {path}, which does not exist"
            if text:
                prepared = path.parent.parent if path.parent.name == "LR_bicubic" else path.parent
                remedy = f"m2trans prepare YOUR_IMAGES {prepared} --scales 2 3 4"
                yield Problem(("datasets", phase, key), text, remedy)
    for place, file, remedy in _model_files(opt):
        if isinstance(file, str) and not Path(file).expanduser().exists():
            yield Problem(place, f"names the file {file}, which does not exist", remedy)


def find_unfit_data(opt: dict[str, Any]) -> Iterator[Problem]:
    """Training images that are too few for a batch or too small for a patch, told by their LMDB's meta_info.txt."""
    from basicsr_m2trans.data.lmdb_store import read_meta_info

    dataset = section(opt, "datasets", "train")
    if dataset.get("type") not in PAIRED or "dataroot_gt" not in dataset or not _is_lmdb(dataset):
        return
    root = Path(dataset["dataroot_gt"]).expanduser()
    if _folder_problem(root, lmdb=True):
        return
    key = "datasets", "train"
    try:
        shapes = {name: stored.shape for name, stored in read_meta_info(root).items()}
    except InputError as error:
        yield Problem((*key, "dataroot_gt"), f"cannot be used: {error}", "make the LMDB again")
        return
    patch = dataset.get("gt_size") or 0
    small = [name for name, (height, width, _) in shapes.items() if min(height, width) < patch]
    if small:
        height, width, _ = shapes[small[0]]
        text = (
            f"is {patch}, but {len(small)} of {len(shapes)} images are smaller, such as {small[0]} ({width}x{height})"
        )
        remedy = f"lower it, or leave small images out by m2trans prepare --min-side {patch}"
        yield Problem((*key, "gt_size"), text, remedy)
    # Processes share the images; in one process, BasicSR multiplies the batch by the number of GPUs.
    processes = int(os.environ.get("WORLD_SIZE", 1))
    batch = (dataset.get("batch_size_per_gpu") or 0) * (max(_num_gpu(opt), 1) if processes == 1 else 1)
    images = math.ceil(len(shapes) * dataset.get("dataset_enlarge_ratio", 1)) // processes
    if batch > images:
        text = f"makes a batch of {batch}, but an epoch has only {images} images for each of {processes} processes"
        yield Problem((*key, "batch_size_per_gpu"), text, "lower it, or raise dataset_enlarge_ratio")


def find_unfit_weights(opt: dict[str, Any]) -> Iterator[Problem]:
    """Networks to start from that are damaged or no checkpoints of BasicSR."""
    from basicsr_m2trans.weights import read_checkpoint

    paths = section(opt, "path")
    for key, value in paths.items():
        if not key.startswith("pretrain_network") or not isinstance(value, str) or paths.get("resume_state"):
            continue
        path = Path(value).expanduser()
        if not path.exists():
            continue
        try:
            checkpoint = read_checkpoint(path)
        except InputError as error:
            yield Problem(("path", key), f"cannot be used: {error}", "name a file of experiments/NAME/models")
            continue
        entries = list(checkpoint) if isinstance(checkpoint, dict) else [type(checkpoint).__name__]
        wanted = paths.get(key.replace("pretrain_network", "param_key"), "params")
        if wanted in entries or "params" in entries or wanted is None:
            continue
        remedy = "name a file of experiments/NAME/models"
        if "model_state_dict" in entries:
            remedy = f"it is a checkpoint of the authors' code: run m2trans convert {value} OUT.pth and name OUT.pth"
        yield Problem(("path", key), f"cannot be used: {value} has no entry {wanted!r}", remedy)


def find_missing_gpus(opt: dict[str, Any]) -> Iterator[Problem]:
    """GPUs that the option file asks for and PyTorch does not find."""
    import torch

    if _num_gpu(opt) > 0 and not torch.cuda.is_available():
        text = f"is {opt['num_gpu']}, but PyTorch finds no GPU here"
        yield Problem(("num_gpu",), text, "write auto, or add `--force_yml num_gpu=0` to run on the CPU")


def _num_gpu(opt: dict[str, Any]) -> int:
    import torch

    number = opt.get("num_gpu", 0)
    return torch.cuda.device_count() if number == "auto" else number


def _is_lmdb(dataset: dict[str, Any]) -> bool:
    return section(dataset, "io_backend").get("type") == "lmdb"


def _folder_problem(path: Path, lmdb: bool) -> str | None:
    if not path.is_dir():
        return f"names the folder {path}, which does not exist"
    absent = [name for name in ("data.mdb", "meta_info.txt") if lmdb and not (path / name).is_file()]
    return f"names {path}, which is no LMDB, it holds no {' and no '.join(absent)}" if absent else None


def _model_files(opt: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """Key, path and remedy of the files that the model reads."""
    paths = section(opt, "path")
    if paths.get("resume_state"):
        # A resumed run takes its networks from the interrupted one and reads none of those named here.
        remedy = "name a .state file in experiments/NAME/training_states, or write ~ and run with --auto_resume"
        yield ("path", "resume_state"), paths["resume_state"], remedy
    else:
        for key, path in paths.items():
            if key.startswith("pretrain_network"):
                remedy = (
                    "name a trained network (experiments/NAME/models/net_g_*.pth), make one from the authors' with "
                    f"m2trans convert OFFICIAL.pt {path}, or write ~ for random weights"
                )
                yield ("path", key), path, remedy
    encoder = section(opt, "train", "semantic_opt", "encoder")
    checkpoint = encoder.get("checkpoint")
    remedy = f"write the path of the checkpoint of {encoder.get('type')} there"
    if encoder.get("type") == "MedCLIPEncoder":
        from basicsr_m2trans.encoders.medclip import CHECKPOINT_URL

        remedy = f"run `m2trans weights medclip`, or save {CHECKPOINT_URL} as {checkpoint}"
    yield ("train", "semantic_opt", "encoder", "checkpoint"), checkpoint, remedy
