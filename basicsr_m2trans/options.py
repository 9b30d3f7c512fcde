"""Reads an option file and checks it and the files that it names, before BasicSR makes any folder."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from basicsr_m2trans.errors import InputError

REQUIRED_KEYS = {
    "train": ("name", "model_type", "num_gpu", "datasets", "path", "train", "logger"),
    "test": ("name", "model_type", "num_gpu", "datasets", "path", "val"),
}


def check_options(mode: str, root_path: str) -> None:
    """Check the option file of the command line and all that it needs; nothing is written.

    Raises:
        InputError: the option file cannot be used, files that it names are missing, or it asks for a GPU where
            there is none.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-opt")
    parser.add_argument("--force_yml", nargs="+", default=[])
    parser.add_argument("--auto_resume", action="store_true")
    parser.add_argument("--debug", action="store_true")
    args, _ = parser.parse_known_args()
    if args.opt is None:
        return  # BasicSR's own parser prints the usage.
    opt = read_options(args.opt, mode, args.force_yml)
    if args.auto_resume:
        from basicsr_m2trans.compat import latest_training_state

        prefix = "debug_" if args.debug and not opt["name"].startswith("debug") else ""
        states = Path(root_path, "experiments", prefix + opt["name"], "training_states")
        opt["path"]["resume_state"] = latest_training_state(states)
    problems = option_problems(opt, mode)
    if problems:
        raise InputError("\n  ".join([f"options in {args.opt} do not fit together", *problems]))
    missing = missing_files(opt)
    if missing:
        raise InputError("\n".join([f"files named in {args.opt} are missing", *missing]))
    check_weights_files(opt)
    if isinstance(opt["num_gpu"], int) and opt["num_gpu"] > 0:
        import torch

        if not torch.cuda.is_available():
            raise InputError(
                f"{args.opt}: num_gpu is {opt['num_gpu']}, but PyTorch finds no GPU here; write num_gpu: auto, or add "
                "`--force_yml num_gpu=0` to train on the CPU"
            )


def read_options(path: str, mode: str, overrides: list[str]) -> dict[str, Any]:
    """Read an option file and set the values that `--force_yml` gives.

    Args:
        path: the yml file.
        mode: 'train' or 'test'.
        overrides: entries of the form `key:key=value`, whose values mean what they mean to BasicSR.

    Raises:
        InputError: the file or an override cannot be read, or a key that BasicSR needs is missing.
    """
    try:
        opt = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"option file {path} cannot be read: {error.strerror}; give the path of a yml file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"option file {path} is not valid YAML; mend it at the named place: {error}") from error
    if not isinstance(opt, dict):
        raise InputError(f"option file {path} holds no options; start from one of the files in options/")
    for entry in overrides:
        _override(opt, entry)
    absent = [key for key in REQUIRED_KEYS[mode] if opt.get(key) is None]
    if absent:
        raise InputError(f"option file {path} lacks what a {mode} run needs; add {', '.join(absent)}")
    for key in ("datasets", "path", "train", "val", "logger", "network_g"):
        if not isinstance(opt.get(key) or {}, dict):
            raise InputError(f"option file {path}: {key} must be a section of keys and values")
    for phase, dataset in opt["datasets"].items():
        if not isinstance(dataset, dict):
            raise InputError(f"option file {path}: datasets: {phase} must be a section of keys and values")
    if mode == "train" and "train" not in opt["datasets"]:
        raise InputError(f"option file {path}: section datasets has no training set; add an entry named train")
    return opt


def _override(opt: dict[str, Any], entry: str) -> None:
    """Set one `key:key=value` of `--force_yml` in `opt`."""
    if entry.count("=") != 1:
        raise InputError(f"--force_yml {entry}: write it as key:key=value, with one equals sign")
    keys, value = (part.strip() for part in entry.split("="))
    *parents, last = keys.split(":")
    section = opt
    for parent in parents:
        section = section.get(parent)
        if not isinstance(section, dict):
            raise InputError(f"--force_yml {entry}: the option file has no section {parent!r}")
    section[last] = _forced_value(value)


def _forced_value(value: str) -> Any:
    """The value that BasicSR's `parse_options` makes of a text, without executing it."""
    if value == "~" or value.lower() == "none":
        return None
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if value.isdigit():
        return int(value)
    if value.count(".") == 1 and value.replace(".", "").isdigit():
        return float(value)
    return yaml.safe_load(value) if value.startswith(("[", "!!float")) else value


def option_problems(opt: dict[str, Any], mode: str) -> list[str]:
    """List what BasicSR would stumble over after it has made the folder of the run."""
    problems = [
        f"datasets: {phase}: io_backend must be a section, such as io_backend: {{type: lmdb}}"
        for phase, dataset in opt["datasets"].items()
        if not isinstance(dataset.get("io_backend") or {}, dict)
    ]
    name = opt["name"]
    if not isinstance(name, str) or not name or Path(name).name != name:
        problems.append(f"name is {name!r}; it becomes a folder, so write one word without slashes, quoted if a number")
    problems += [
        f"{key} is the text {value!r}; write !!float {value} in the file, or 0.0001 and the like in --force_yml"
        for key, value in _numbers_as_text(opt)
    ]
    upscale = (opt.get("network_g") or {}).get("upscale")
    if None not in (upscale, opt.get("scale")) and upscale != opt["scale"]:
        problems.append(f"scale is {opt['scale']}, but network_g: upscale is {upscale}; write the same in both")
    schedule = (opt.get("train") or {}).get("scheduler") or {}
    periods, total = schedule.get("periods"), (opt.get("train") or {}).get("total_iter")
    if isinstance(periods, list) and isinstance(total, int) and total > sum(periods):
        problems.append(f"train: total_iter {total} goes beyond scheduler: periods {periods}; make their sum as large")
    tile = (opt.get("val") or {}).get("tile")
    if tile is not None:
        from basicsr_m2trans.inference.tiles import check_tile

        try:
            check_tile(tile)
        except InputError as error:
            problems.append(f"val: {error}")
    if mode == "train":
        problems += _training_problems(opt)
    if mode == "train" and opt["model_type"] == "M2TransModel":
        if not opt["train"].get("pixel_opt"):
            problems.append("train: pixel_opt is missing; M2TransModel needs a fidelity loss, such as type: L1Loss")
        encoder = (opt["train"].get("semantic_opt") or {}).get("encoder")
        if encoder is not None:
            from basicsr_m2trans.encoders import ENCODERS

            name = encoder.get("type") if isinstance(encoder, dict) else encoder
            if name not in ENCODERS:
                problems.append(
                    f"train: semantic_opt: encoder: type {name!r} is unknown; choose one of {', '.join(ENCODERS)}"
                )
    return problems


def _training_problems(opt: dict[str, Any]) -> list[str]:
    """What is wrong with the options of the training loop (`TrainingOptions`)."""
    from basicsr_m2trans.models.training_options import OPTION_KEYS, TrainingOptions

    train = opt["train"]
    if opt["model_type"] == "SRModel":
        ignored = [key for key in OPTION_KEYS if train.get(key)]
        return [f"train: {key} means nothing to SRModel; write model_type: M2TransModel" for key in ignored]
    if opt["model_type"] != "M2TransModel":
        return []
    batch_size = opt["datasets"]["train"].get("batch_size_per_gpu")
    try:
        options = TrainingOptions.from_section(train)
        if isinstance(batch_size, int):
            options.part_size(batch_size)
    except InputError as error:
        return [str(error)]
    return []


def _numbers_as_text(section: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Values such as 1e-4, which YAML reads as text and the optimizer or scheduler would fail on."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _numbers_as_text(value, f"{path}{key}: ")
        elif isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?e[+-]?\d+", value.strip(), re.IGNORECASE):
            yield f"{path}{key}", value


def missing_files(opt: dict[str, Any]) -> list[str]:
    """List what an option file names and the disk does not hold.

    Checked are every data set's `dataroot_gt` and `dataroot_lq` (a folder; for LMDB one that holds data.mdb and
    meta_info.txt), `meta_info_file` and `captions`, the networks and the resume state under `path`, and the
    checkpoint of the semantic loss's encoder. Relative paths start at the current directory.

    Args:
        opt: the options as `read_options` returns them.

    Returns:
        One message for each remedy: a line for each missing file, then the command or address that mends them.
    """
    by_remedy: dict[str, list[str]] = {}
    for option, problem, remedy in [*_data_problems(opt["datasets"]), *_model_problems(opt)]:
        by_remedy.setdefault(remedy, []).append(f"  {option}: {problem}")
    return ["\n".join([*problems, f"    -> {remedy}"]) for remedy, problems in by_remedy.items()]


def check_weights_files(opt: dict[str, Any]) -> None:
    """Look into the networks that the run would start from.

    Raises:
        InputError: a file is damaged, or is no checkpoint of BasicSR; the message says what it is instead.
    """
    for key, path in opt["path"].items():
        if not key.startswith("pretrain_network") or path is None or opt["path"].get("resume_state"):
            continue
        from basicsr_m2trans.weights import read_checkpoint

        checkpoint = read_checkpoint(Path(path).expanduser())
        entries = list(checkpoint) if isinstance(checkpoint, dict) else [type(checkpoint).__name__]
        wanted = opt["path"].get(key.replace("pretrain_network", "param_key"), "params")
        if wanted in entries or "params" in entries or wanted is None:
            continue
        advice = "name a file of experiments/NAME/models"
        if "model_state_dict" in entries:
            advice = f"it is a checkpoint of the authors' code: run m2trans convert {path} OUT.pth and name OUT.pth"
        raise InputError(f"path: {key}: {path} has no entry {wanted!r}; {advice}")


def _data_problems(datasets: dict[str, dict[str, Any]]) -> list[tuple[str, str, str]]:
    problems = []
    for phase, dataset in datasets.items():
        lmdb = (dataset.get("io_backend") or {}).get("type") == "lmdb"
        for key in ("dataroot_gt", "dataroot_lq", "meta_info_file", "captions"):
            value = dataset.get(key)
            if value is None:
                continue
            path = Path(value).expanduser()
            if key.startswith("dataroot"):
                problem = _folder_problem(path, lmdb)
            else:
                problem = None if path.is_file() else f"file {path} does not exist"
            if problem:
                prepared = path.parent.parent if path.parent.name == "LR_bicubic" else path.parent
                remedy = f"m2trans prepare YOUR_IMAGES {prepared} --scales 2 3 4"
                problems.append((f"datasets: {phase}: {key}", problem, remedy))
    return problems


def _folder_problem(path: Path, lmdb: bool) -> str | None:
    if not path.is_dir():
        return f"folder {path} does not exist"
    if lmdb:
        absent = [name for name in ("data.mdb", "meta_info.txt") if not (path / name).is_file()]
        if absent:
            return f"folder {path} is no LMDB, it holds no {' and no '.join(absent)}"
    return None


def _model_problems(opt: dict[str, Any]) -> list[tuple[str, str, str]]:
    named = []
    resume_state = opt["path"].get("resume_state")
    if resume_state:
        remedy = "name a .state file in experiments/NAME/training_states, or write ~ and run with --auto_resume"
        named.append(("path: resume_state", resume_state, remedy))
    else:
        # A resumed run takes its networks from the interrupted one and reads none of these.
        for key, path in opt["path"].items():
            if key.startswith("pretrain_network"):
                remedy = (
                    "name a trained network (experiments/NAME/models/net_g_*.pth), make one from the authors' with "
                    f"m2trans convert OFFICIAL.pt {path}, or write ~ for random weights"
                )
                named.append((f"path: {key}", path, remedy))
    semantic = (opt.get("train") or {}).get("semantic_opt") or {}
    encoder = semantic.get("encoder")
    if isinstance(encoder, dict):
        checkpoint = encoder.get("checkpoint")
        remedy = f"write the path of the checkpoint of {encoder.get('type')} there"
        if encoder.get("type") == "MedCLIPEncoder":
            from basicsr_m2trans.encoders.medclip import CHECKPOINT_URL

            remedy = f"run `m2trans weights medclip`, or save {CHECKPOINT_URL} as {checkpoint}"
        named.append(("train: semantic_opt: encoder: checkpoint", checkpoint, remedy))
    return [
        (option, f"file {path} does not exist", remedy)
        for option, path, remedy in named
        if path is not None and not Path(path).expanduser().exists()
    ]
