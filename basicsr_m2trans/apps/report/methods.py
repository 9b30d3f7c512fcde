"""Which option file a method has, and what a comparison changes in it: data, budget, seed."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from basicsr_m2trans.apps.report.plan_keys import KEYS
from basicsr_m2trans.apps.report.settings import BICUBIC, Method, Run, Settings
from basicsr_m2trans.checkpoints.networks import network_section
from basicsr_m2trans.evaluation.set_folders import set_options
from basicsr_m2trans.options.checks import find_problems, read_option_file
from basicsr_m2trans.options.relations import section
from basicsr_m2trans.options.values import guess
from basicsr_m2trans.utils.atomic import write_atomic
from basicsr_m2trans.utils.errors import InputError, Problem, reported
from basicsr_m2trans.utils.names import first_few
from basicsr_m2trans.utils.yaml_file import OptionFile

# Where a method's option files lie below the folder of options.
FOLDERS = (".", "baselines", "ablations")
# Keys that a comparison sets by itself, and the keys of a plan that decide about each.
BUDGET = ("iterations", "minutes")
OWN_KEYS = {
    "name": ("methods",),
    "scale": ("scales",),
    "manual_seed": ("seeds",),
    "train:total_iter": BUDGET,
    "val:val_freq": ("validations",),
    "logger:print_freq": BUDGET,
    "logger:save_checkpoint_freq": BUDGET,
    # Would delete the checkpoint at which the time budget ends.
    "logger:keep_last": BUDGET,
}
# Keys of a data set that the comparison's data replace.
SET_KEYS = (
    "name",
    "type",
    "dataroot_gt",
    "dataroot_lq",
    "io_backend",
    "filename_tmpl",
    "meta_info_file",
    "captions",
)
# Arguments that have other names than the keys of plans for which they stand.
ARGUMENTS = {"iterations": "--iters", "minutes": "--time-budget", "tests": "--test"}


def argument(key: str) -> str:
    """The argument of the command line that stands for a key of a plan."""
    return ARGUMENTS.get(key, f"--{key}")


def deciding_keys(key: str) -> tuple[str, ...]:
    """The keys of a plan that decide about `key:key` of option files; none where it is free."""
    return OWN_KEYS.get(key, ("data",) if ":dataroot_" in key else ())


def option_file(method: str, scale: int, options: Path) -> Path:
    """The file `train_{method}_x{scale}.yml` in `options` or its folders baselines and ablations.

    Raises:
        InputError: there is no such file; the methods that there are for this scale are named. Or
            no such folder.
    """
    path = _find_option_file(method, scale, options)
    if path is None:
        raise InputError(_no_option_file(Method(method), [scale], options))
    return path


def _find_option_file(method: str, scale: int, options: Path) -> Path | None:
    if not options.is_dir():
        raise InputError(
            f"--options {options}: there is no such folder; run this in the project's folder, or "
            "name its options"
        )
    paths = [options / folder / f"train_{method}_x{scale}.yml" for folder in FOLDERS]
    return next((path for path in paths if path.is_file()), None)


def _no_option_file(method: Method, scales: Sequence[int], options: Path) -> str:
    """That a method has no option files of some scales, and which methods have."""
    base = method.base or method.name
    known: list[set[str]] = []
    for scale in scales:
        end = f"_x{scale}.yml"
        found = [path for each in FOLDERS for path in options.joinpath(each).glob(f"train_*{end}")]
        known.append({path.name.removeprefix("train_").removesuffix(end) for path in found})
    names = [BICUBIC.lower(), *sorted(set.intersection(*known) - {BICUBIC.lower()})]
    choice = f"choose from {', '.join(names)}"
    if method.others:
        choice = f"choose from the plan's {', '.join(method.others)}, or from {', '.join(names)}"
    files = " and ".join(f"train_{base}_x{scale}.yml" for scale in scales)
    written = "write that file" if len(scales) == 1 else "write those files"
    return (
        f"{method.place and f'{method.place}: '}method {base!r} has no option file {files} "
        f"in {options}; {guess(base, [*method.others, *names])}{choice}, or {written}"
    )


def network_options(method: str, scale: int, options: Path) -> dict[str, Any]:
    """The section `network_g` of a method: its architecture and settings.

    Raises:
        InputError: the method has no option file, or it names no network.
    """
    if method == BICUBIC:
        return {"type": BICUBIC, "upscale": scale}
    return network_section(option_file(method, scale, options))


def base_files(settings: Settings, runs: Iterable[Run]) -> dict[str, OptionFile]:
    """The option file of each method and scale (`M2Trans_x2`), before budget and seed.

    It has the comparison's data, which need not be there, and the user's changes.

    Args:
        settings: methods, data and changes. Overrides are entries `key:key=value` for all methods,
            or `METHOD.key:key=value` for one; values are YAML.
        runs: of these methods and scales.

    Raises:
        InputError: files, keys or values cannot be used; one message lists those of all methods.
    """
    files: dict[str, OptionFile] = {}
    problems: dict[str, list[Problem]] = {}
    lacking: dict[str, list[int]] = {}
    texts = []
    for setting, run in {run.setting: run for run in runs if run.seed is not None}.items():
        method = settings.methods[run.method]
        try:
            path = _find_option_file(method.base or method.name, run.scale, settings.options)
            if path is None:
                lacking.setdefault(run.method, []).append(run.scale)
                continue
            files[setting], found = _base_file(settings, method, run.scale, path)
            problems[setting] = files[setting].placed(found)
        except InputError as error:
            texts.append(str(error))
    for name, scales in lacking.items():
        texts.append(_no_option_file(settings.methods[name], scales, settings.options))
    refuse(problems, texts)
    return files


def refuse(problems: Mapping[str, Sequence[Problem]], texts: Sequence[str] = ()) -> None:
    """Report all that is wrong with methods at once, and what several of them share only once.

    Args:
        problems: by method and scale (`M2Trans_x2`), each with its place.
        texts: what else is wrong.

    Raises:
        InputError: there is at least one problem or text.
    """
    having: dict[Problem, list[str]] = {}
    for setting, found in problems.items():
        for problem in dict.fromkeys(found):
            having.setdefault(problem, []).append(setting)
    reports = list(dict.fromkeys(texts))
    for names in dict.fromkeys(map(tuple, having.values())):
        group = [problem for problem, settings in having.items() if tuple(settings) == names]
        subject = f"methods {first_few(names)} have" if names[1:] else f"method {names[0]} has"
        reports.append(reported(subject, group))
    if reports:
        raise InputError("\n".join(reports))


def _base_file(
    settings: Settings, method: Method, scale: int, path: Path
) -> tuple[OptionFile, list[Problem]]:
    """One of `base_files`, from the option file at `path`, and what is wrong with it."""
    data, file = settings.data, read_option_file(path, "train")
    opt = file.opt
    opt["scale"] = scale
    for phase in ("train", "val"):
        given = opt["datasets"].get(phase, {})
        kept = {key: value for key, value in given.items() if key not in SET_KEYS}
        opt["datasets"][phase] = kept | {"name": phase} | set_options(data / phase, scale)
    captions = data / "train" / "captions.csv"
    if captions.is_file() or not captions.parent.is_dir():
        opt["datasets"]["train"]["captions"] = str(captions.resolve())
    sets = copy.deepcopy({phase: opt["datasets"][phase] for phase in ("train", "val")})
    known = set(section(opt, "val", "metrics"))
    for changes in method.changes.get(scale, ()):
        file.merge(changes)
    for entry in settings.overrides:
        file.problems += _override(file, method.name, entry, set(settings.methods))
    metrics = section(opt, "val", "metrics")
    left_out = [name for name, metric in metrics.items() if metric is None]
    for name in set(left_out) & known:
        del metrics[name]  # an option file does not list what is not measured
    for phase, dataset in sets.items():
        _keep_data(section(opt, "datasets"), phase, dataset)
    make_paths_absolute(opt)
    problems = find_problems(file, "train", files=False)
    choice = f"choose from {', '.join(sorted(known))}"
    problems += [
        Problem(("val", "metrics", name), "is not a metric of the option file", choice)
        for name in left_out
        if name not in known
    ]
    if not opt.get("val"):
        # Trainings do without, comparisons do not.
        problems.append(Problem(("val",), "is missing", "take it from another option file"))
    elif known and not metrics:
        # The option file has no mistake: it is the changes that take away what the key needs.
        place = file.place(("val", "metrics", *left_out[:1]))
        problems = [
            replace(each, place=place) if each.key == ("logger", "keep_best") else each
            for each in problems
        ]
    return file, problems


def _override(file: OptionFile, method: str, entry: str, methods: set[str]) -> Iterator[Problem]:
    """Apply one entry of `--set`, unless it is for another method; yield what is wrong with it."""
    place, (path, equals, value) = f"--set {entry}", entry.partition("=")
    # Methods may have dots in their names, as the ablations of beta have.
    target, dot, key = path.rpartition(".")
    if not equals or not path:
        remedy = "write it as key:key=value or METHOD.key:key=value"
        yield Problem((), "is not an option", remedy, place)
    elif dot and target not in methods:
        text = f"{target!r} is not among --methods {','.join(sorted(methods))}"
        yield Problem((), text, "name one of them", place)
    elif dot and target != method:
        return
    elif deciding_keys(key):
        deciding = " or ".join(map(argument, deciding_keys(key)))
        text = f"a comparison sets {key} by itself; see {deciding}"
        yield Problem((), text, "leave it out", place)
    elif key in KEYS:
        text = f"{key} is a key of plans, and --set changes option files"
        yield Problem((), text, f"use {argument(key)}", place)
    else:
        try:
            file.override(key, value, place, yaml.safe_load)
        except LookupError:
            text = f"the options of {method} have no section {key.rpartition(':')[0]}"
            yield Problem((), text, "write METHOD. in front to change one method", place)
        except ValueError:
            yield Problem((), "the value is not valid YAML", "put all of it in quotes", place)


def _keep_data(datasets: dict[str, Any], phase: str, before: dict[str, Any]) -> None:
    """Give the comparison's data to a data set of another type that has replaced that `before`."""
    now = datasets.get(phase)
    if isinstance(now, dict) and now.get("type") != before["type"]:
        # Captions belong to the old type.
        kept = {key: before[key] for key in SET_KEYS if key in before and key != "captions"}
        datasets[phase] = kept | now


def make_paths_absolute(opt: dict[str, Any]) -> None:
    """Paths in option files start at the current directory, but runs work in the output folder."""
    encoder = section(opt, "train", "semantic_opt", "encoder")
    for values, key in ((section(opt, "path"), "pretrain_network_g"), (encoder, "checkpoint")):
        # Other values are left to the checks.
        if isinstance(values.get(key), str) and values[key]:
            values[key] = str(Path(values[key]).expanduser().resolve())


def run_options(
    base: dict[str, Any], run: Run, iterations: int, validations: int
) -> dict[str, Any]:
    """The complete options of one run.

    The learning rate's schedule is stretched from the option file's length to `iterations`, so that
    every method anneals fully. The log has about 100 lines, checkpoints are written about 20 times.

    Args:
        base: the options of one of `base_files`.
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
    """Stretch warm-up, of which one iteration is left, periods and milestones to a length."""
    factor = iterations / train["total_iter"]
    scheduler = train["scheduler"]
    if "periods" in scheduler:
        ends = np.rint(np.cumsum([0, *scheduler["periods"]]) * factor).astype(int)
        scheduler["periods"] = [max(1, int(period)) for period in np.diff(ends)]
    for key in ("milestones", "restarts"):
        if key in scheduler:
            scheduler[key] = [round(value * factor) for value in scheduler[key]]
    if train.get("warmup_iter", -1) > 0:
        train["warmup_iter"] = max(1, round(train["warmup_iter"] * factor))
    train["total_iter"] = iterations


def write_options(path: Path, opt: dict[str, Any]) -> None:
    """Write an option file that can also be run by hand; it replaces an older one as a whole."""
    header = (
        "# Written by m2trans compare. By hand, from the folder above this one:\n"
        f"#   python -m basicsr_m2trans.train -opt options/{path.name} --auto_resume\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, (header + yaml.safe_dump(opt, sort_keys=False)).encode())
