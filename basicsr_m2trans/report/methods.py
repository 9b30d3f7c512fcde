"""Which option file a method has, and what a comparison changes in it: data, budget and seed, nothing else."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from basicsr_m2trans.errors import InputError
from basicsr_m2trans.options import option_problems, read_options

BICUBIC = "Bicubic"
# Where a method's option files lie below the folder of options.
FOLDERS = (".", "baselines", "ablations")
# Keys that a comparison sets by itself, and the argument that decides about each.
OWN_KEYS = {
    "name": "--methods",
    "scale": "--scales",
    "manual_seed": "--seeds",
    "train:total_iter": "--iters or --time-budget",
    "val:val_freq": "--validations",
    "logger:print_freq": "--iters or --time-budget",
    "logger:save_checkpoint_freq": "--iters or --time-budget",
    # Would delete the checkpoint at which the time budget ends.
    "logger:keep_last": "--iters or --time-budget",
}


@dataclass(frozen=True)
class Run:
    """One training of a comparison; `seed` is None for bicubic interpolation, which has nothing to train."""

    method: str
    scale: int
    seed: int | None

    @property
    def setting(self) -> str:
        """Name shared by the runs that differ in their seed alone."""
        return f"{self.method}_x{self.scale}"

    @property
    def name(self) -> str:
        """Name of the run's option file, experiment and results."""
        return self.setting if self.seed is None else f"{self.setting}_seed{self.seed}"


def plan_runs(methods: Iterable[str], scales: Iterable[int], seeds: Iterable[int]) -> list[Run]:
    """All runs of a comparison, scale by scale and seed by seed, so that early results compare all methods."""
    seeds = list(seeds)
    return [
        Run(method, scale, None if method == BICUBIC else seed)
        for scale in scales
        for seed in seeds
        for method in methods
        if method != BICUBIC or seed == seeds[0]
    ]


def option_file(method: str, scale: int, options: Path) -> Path:
    """The file `train_{method}_x{scale}.yml` in the folder of options or its sub-folders baselines and ablations.

    Raises:
        InputError: there is no such file; the methods that there are for this scale are named. Or no such folder.
    """
    if not options.is_dir():
        raise InputError(
            f"--options {options}: there is no such folder; run this in the project's folder, or name its options"
        )
    for folder in FOLDERS:
        path = options / folder / f"train_{method}_x{scale}.yml"
        if path.is_file():
            return path
    found = (path for folder in FOLDERS for path in options.joinpath(folder).glob(f"train_*_x{scale}.yml"))
    known = sorted({path.stem.removeprefix("train_").removesuffix(f"_x{scale}") for path in found})
    raise InputError(
        f"method {method!r} has no option file train_{method}_x{scale}.yml in {options}; "
        f"choose from {', '.join([BICUBIC.lower(), *known])}, or write that file"
    )


def network_options(method: str, scale: int, options: Path) -> dict[str, Any]:
    """The section `network_g` of a method: its architecture and settings.

    Raises:
        InputError: the method has no option file, or it names no network.
    """
    if method == BICUBIC:
        return {"type": BICUBIC, "upscale": scale}
    return network_section(option_file(method, scale, options))


def network_section(path: Path) -> dict[str, Any]:
    """The section `network_g` of a training or test option file.

    Raises:
        InputError: the file cannot be read or has no such section.
    """
    try:
        opt = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"option file {path} cannot be read: {error}") from error
    network = opt.get("network_g") if isinstance(opt, dict) else None
    if not isinstance(network, dict) or "type" not in network:
        raise InputError(f"option file {path} has no section network_g with a type; add the network's settings")
    return network


def prepared_dataset(folder: Path, scale: int) -> dict[str, Any]:
    """Options of a data set that reads what `m2trans prepare` wrote to `folder`; LMDB where there is one.

    Raises:
        InputError: the folder does not exist or lacks images of this scale.
    """
    dataset: dict[str, Any] = {"type": "PairedImageTextDataset"}
    stores = folder / "HR.lmdb", folder / f"LR_bicubic_X{scale}.lmdb"
    images = folder / "HR", folder / "LR_bicubic" / f"X{scale}"
    for roots, backend in ((stores, "lmdb"), (images, "disk")):
        if all(root.is_dir() for root in roots):
            dataset["dataroot_gt"], dataset["dataroot_lq"] = (str(root.resolve()) for root in roots)
            dataset["io_backend"] = {"type": backend}
            if backend == "disk":
                dataset["filename_tmpl"] = f"{{}}x{scale}"
            return dataset
    raise InputError(
        f"{folder} has no HR and LR images of scale {scale}; make them with m2trans prepare YOUR_IMAGES {folder}"
    )


def base_options(
    method: str, scale: int, options: Path, data: Path, overrides: Iterable[str], methods: Iterable[str]
) -> dict[str, Any]:
    """The option file of a method with the comparison's data and the user's overrides, before budget and seed.

    Args:
        options: folder of option files.
        data: folder with the prepared sets `train` and `val`.
        overrides: entries `key:key=value` for all methods, or `METHOD.key:key=value` for one; values are YAML.
        methods: all methods of the comparison.

    Raises:
        InputError: a file, a key or a value cannot be used.
    """
    path = option_file(method, scale, options)
    opt = read_options(str(path), "train", [])
    opt["scale"] = scale
    own_data = ("dataroot_gt", "dataroot_lq", "io_backend", "filename_tmpl", "meta_info_file", "captions")
    for phase in ("train", "val"):
        kept = {key: value for key, value in opt["datasets"].get(phase, {}).items() if key not in own_data}
        opt["datasets"][phase] = kept | {"name": phase} | prepared_dataset(data / phase, scale)
    captions = data / "train" / "captions.csv"
    if captions.is_file():
        opt["datasets"]["train"]["captions"] = str(captions.resolve())
    for entry in overrides:
        _override(opt, method, entry, set(methods))
    _make_absolute(opt["path"], "pretrain_network_g")
    encoder = (opt["train"].get("semantic_opt") or {}).get("encoder")
    if isinstance(encoder, dict):
        _make_absolute(encoder, "checkpoint")
    problems = option_problems(opt, "train")
    if not opt.get("val"):
        # Trainings do without, comparisons do not.
        problems.append("val is missing; take it from another option file")
    if problems:
        raise InputError("\n  ".join([f"options of {method} x{scale} do not fit together ({path}, --set)", *problems]))
    return opt


def _override(opt: dict[str, Any], method: str, entry: str, methods: set[str]) -> None:
    """Apply one entry of `--set`, unless it is for another method."""
    key, equals, value = entry.partition("=")
    if not equals or not key:
        raise InputError(f"--set {entry}: write it as key:key=value or METHOD.key:key=value")
    if "." in key:
        # Methods may have dots in their names, as the ablations of beta have.
        target, _, key = key.rpartition(".")
        if target not in methods:
            raise InputError(f"--set {entry}: {target!r} is not among --methods {','.join(sorted(methods))}")
        if target != method:
            return
    if key in OWN_KEYS or ":dataroot_" in key:
        raise InputError(f"--set {entry}: a comparison sets {key} by itself; see {OWN_KEYS.get(key, '--data')}")
    *parents, last = key.split(":")
    section: Any = opt
    for parent in parents:
        section = section.get(parent) if isinstance(section, dict) else None
    if not isinstance(section, dict):
        raise InputError(
            f"--set {entry}: the options of {method} have no section {':'.join(parents)}; "
            "write METHOD. in front to change one method"
        )
    try:
        section[last] = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"--set {entry}: the value is not valid YAML") from error


def _make_absolute(section: dict[str, Any], key: str) -> None:
    """Paths in option files start at the current directory, but runs work in the output folder."""
    if section.get(key):
        section[key] = str(Path(section[key]).expanduser().resolve())


def run_options(base: dict[str, Any], run: Run, iterations: int, validations: int) -> dict[str, Any]:
    """The complete options of one run.

    The learning rate's schedule is stretched from the option file's length to `iterations`, so that every method
    anneals fully. The log has about 100 lines, checkpoints are written about 20 times.

    Args:
        base: what `base_options` returned.
        iterations: length of the training.
        validations: how often to validate on the way; with 0 the sections for it are removed.
    """
    opt = copy.deepcopy(base)
    opt |= {"name": run.name, "manual_seed": run.seed}
    _fit_schedule(opt["train"], iterations)
    percent = max(1, iterations // 100)
    opt["logger"] |= {"print_freq": percent, "save_checkpoint_freq": 5 * percent}
    opt["logger"].pop("keep_last", None)
    if validations:
        # A multiple of print_freq: the log tells a validation's iteration by the line before it.
        opt["val"]["val_freq"] = percent * max(1, round(iterations / percent / validations))
    else:
        del opt["val"], opt["datasets"]["val"]
    return opt


def _fit_schedule(train: dict[str, Any], iterations: int) -> None:
    """Stretch warm-up, periods and milestones to a training of this length."""
    factor = iterations / train["total_iter"]
    scheduler = train["scheduler"]
    if "periods" in scheduler:
        ends = np.rint(np.cumsum([0, *scheduler["periods"]]) * factor).astype(int)
        scheduler["periods"] = [max(1, int(period)) for period in np.diff(ends)]
    for key in ("milestones", "restarts"):
        if key in scheduler:
            scheduler[key] = [round(value * factor) for value in scheduler[key]]
    if train.get("warmup_iter", -1) > 0:
        train["warmup_iter"] = round(train["warmup_iter"] * factor)
    train["total_iter"] = iterations


def write_options(path: Path, opt: dict[str, Any]) -> None:
    """Write an option file that can also be run by hand; it replaces an older one as a whole."""
    from basicsr_m2trans.atomic import write_atomic

    header = (
        "# Written by m2trans compare. By hand, from the folder above this one:\n"
        f"#   python -m basicsr_m2trans.train -opt options/{path.name} --auto_resume\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, (header + yaml.safe_dump(opt, sort_keys=False)).encode())
