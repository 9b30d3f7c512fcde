"""Checks option files, and the files that they name, before BasicSR makes any folder."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from basicsr_m2trans.utils.errors import InputError, Problem, grouped
from basicsr_m2trans.utils.yaml_file import OptionFile, without


def resolve(
    path: str | Path,
    mode: str,
    overrides: Sequence[str] = (),
    *,
    resume_state: str | Path | None = None,
) -> OptionFile:
    """The options that a run goes by, checked together with what they ask of this machine.

    Args:
        path: the yml file.
        mode: 'train' or 'test'.
        overrides: entries of `--force_yml`, each `key:key=value`.
        resume_state: takes the place of `path: resume_state`; None leaves what is there.

    Raises:
        InputError: the options cannot be used, or files or GPUs that they ask for are missing; one
            message lists all that is wrong.
    """
    file = OptionFile.read(path, overrides)
    if resume_state is not None and isinstance(file.opt.get("path"), dict):
        file.opt["path"]["resume_state"] = str(resume_state)
    file.refuse(find_problems(file, mode, files=True))
    _drop_empty_val(file.opt)
    return file


def check_options(mode: str, root_path: str) -> Path | None:
    """Check the option file of the command line and all that it needs; nothing is written.

    Returns:
        The folder that BasicSR will write; None without an option file, where it prints its usage.

    Raises:
        InputError: as `resolve`, or the option file lies where the run writes its copy.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-opt")
    parser.add_argument("--force_yml", nargs="+", default=[])
    parser.add_argument("--auto_resume", action="store_true")
    parser.add_argument("--debug", action="store_true")
    args, _ = parser.parse_known_args()
    if args.opt is None:
        return None
    file = OptionFile.read(args.opt, args.force_yml)
    name, paths = str(file.opt.get("name")), file.opt.get("path")
    prefix = "debug_" if args.debug and not name.startswith("debug") else ""
    folder = Path(root_path, "experiments" if mode == "train" else "results", prefix + name)
    if Path(args.opt).resolve().parent == folder.resolve():
        raise InputError(
            f"-opt {args.opt}: the run writes its own copy to this place; copy the file elsewhere "
            "first"
        )
    if args.auto_resume and isinstance(paths, dict):
        from basicsr_m2trans.checkpoints.training_states import latest_training_state

        state = latest_training_state(folder / "training_states")
        paths["resume_state"] = state and str(state)
    file.refuse(find_problems(file, mode, files=True))
    return folder


def check_file(path: str | Path, files: bool = True) -> str | None:
    """The report of all that is wrong with an option file; None if nothing is.

    It is checked as one of a training if it has a section `train`, else as one of a test.

    Args:
        path: the yml file.
        files: check also what it asks of this machine: data, weights and GPUs.

    Raises:
        InputError: the file cannot be read or holds no options.
    """
    file = OptionFile.read(path)
    problems = find_problems(file, "train" if "train" in file.opt else "test", files)
    return file.report(problems) if problems else None


def find_problems(file: OptionFile, mode: str, files: bool) -> list[Problem]:
    """All that is wrong with an option file, and with what it asks of this machine if `files`."""
    from basicsr_m2trans.options import building
    from basicsr_m2trans.options.files import find_missing_files, find_missing_gpus
    from basicsr_m2trans.options.relations import find_contradictions

    opt, problems = file.opt, _differences(file.opt, mode)
    # What is known to be wrong is left out, so that the other checks meet only values of the right
    # type.
    known = {problem.key for problem in problems}
    sound = without(opt, known)
    later = list(find_contradictions(sound, mode))
    if files:
        later += [*find_missing_files(sound), *find_missing_gpus(sound)]
    problems += [
        problem for problem in later if not any(problem.key[: len(key)] == key for key in known)
    ]
    # Nothing can be built of a section that has a problem.
    problems += building.find_refused_values(without(opt, _sections(problems)))
    if files:
        faultless = without(opt, _sections(problems))
        problems += building.find_unfit_images(faultless)
        problems += building.find_unfit_weights(faultless)
    return file.problems + problems


def read_options(path: str, mode: str, overrides: list[str]) -> dict[str, Any]:
    """The options that a file and `--force_yml` give together; see `read_option_file`."""
    return read_option_file(path, mode, overrides).opt


def read_option_file(path: str | Path, mode: str, overrides: Sequence[str] = ()) -> OptionFile:
    """Read an option file and set the values that `--force_yml` gives, as `resolve` does.

    Raises:
        InputError: the file or an override cannot be read, or one of the sections that BasicSR
            needs is missing or is no section. What is in them is for `find_problems` to tell.
    """
    file = OptionFile.read(path, overrides)
    sections = [
        problem
        for problem in _differences(file.opt, mode)
        if len(problem.key) == 1 or (len(problem.key) == 2 and problem.key[0] == "datasets")
    ]
    file.refuse(file.problems + sections)
    _drop_empty_val(file.opt)
    return file


def missing_files(opt: dict[str, Any]) -> list[str]:
    """What the disk does not hold of what options name: for each remedy a text, a line per file."""
    from basicsr_m2trans.options.files import find_missing_files

    return grouped(find_missing_files(opt))


def _drop_empty_val(opt: dict[str, Any]) -> None:
    """BasicSR takes any `val` for a section where `name` holds `debug`."""
    if opt.get("val") is None:
        opt.pop("val", None)


def _differences(opt: dict[str, Any], mode: str) -> list[Problem]:
    """Where options differ from the table of keys."""
    from basicsr_m2trans.options.sections import option_file

    return list(option_file(mode, opt.get("model_type")).problems(opt))


def _sections(problems: list[Problem]) -> set[tuple[str, ...]]:
    """The sections that have a problem."""
    keys = [problem.key for problem in problems]
    return {key[:1] if key[0] in ("network_g", "path") else key[:2] for key in keys}
