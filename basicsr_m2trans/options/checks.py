"""Checks option files, and the files that they name, before BasicSR makes any folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from basicsr_m2trans.utils.errors import Problem, grouped
from basicsr_m2trans.utils.yaml_file import OptionFile, without


def require_sound(file: OptionFile, mode: str, *, resume_state: str | Path | None = None) -> None:
    """Check the options that a run goes by, together with what they ask of this machine.

    An empty section `val` is removed: BasicSR writes into it where `name` holds `debug`.

    Args:
        file: as read, overrides included.
        mode: 'train' or 'test'.
        resume_state: what `--auto_resume` has found, which goes before `path: resume_state`.

    Raises:
        InputError: the options cannot be used, or files or GPUs that they ask for are missing; one
            message lists all that is wrong.
    """
    paths = file.opt.get("path")
    if resume_state is None or not isinstance(paths, dict):
        file.refuse(find_problems(file, mode, files=True))
    else:
        opt = file.opt | {"path": paths | {"resume_state": str(resume_state)}}
        file.refuse(find_problems(replace(file, opt=opt), mode, files=True))
    _drop_empty_val(file.opt)


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


def read_option_file(path: str | Path, mode: str, overrides: Sequence[str] = ()) -> OptionFile:
    """Read an option file and set the values that `--force_yml` gives, as `require_sound` does.

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
