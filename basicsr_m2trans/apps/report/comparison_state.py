"""What a comparison has done so far, and with which settings: comparison.json in its folder."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from basicsr_m2trans.apps.report.training import Trained
from basicsr_m2trans.apps.report.work import Work
from basicsr_m2trans.evaluation.prepared_set import set_digest
from basicsr_m2trans.evaluation.set_folders import is_prepared
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.locking import locked
from basicsr_m2trans.utils.names import first_few
from basicsr_m2trans.utils.resumable import check_folder, differences, reading, write_record

FILE_NAME = "comparison.json"
# Settings of which a later call may name other members.
GROWING = ("tests", "options", "lengths")


class ComparisonState:
    """Settings and finished parts of the comparison in a folder.

    Methods, scales, seeds and test sets may be added later. Everything else must stay as it was, or
    the tables would compare unlike runs.

    Attributes:
        iterations: length of the trainings, by setting (`M2Trans_x2`).
        trained: finished trainings, by run (`M2Trans_x2_seed0`).

    Args:
        out: the comparison's folder, which is `held`.
        settings: as JSON values; the members of `GROWING` are dictionaries.
        keep: write the file at once.

    Raises:
        InputError: the folder holds a comparison with other settings (named), or a damaged one.
    """

    def __init__(self, out: Path, settings: dict[str, Any], keep: bool = True) -> None:
        self.path = out / FILE_NAME
        self.settings = json.loads(json.dumps(settings))
        self.iterations: dict[str, int] = {}
        self.trained: dict[str, Trained] = {}
        if self.path.is_file():
            self._load()
        if keep:
            self.save()

    def _load(self) -> None:
        with reading(self.path, "start again in another folder"):
            content = json.loads(self.path.read_bytes())
            before = content["settings"]
            self.iterations = content["iterations"]
            self.trained = {name: Trained(**record) for name, record in content["trained"].items()}
            differing = [
                sentence
                for old, new in _shared(before, self.settings)
                for sentence in differences(old, new, nested=True)
            ]
            grown = {key: before[key] | self.settings[key] for key in GROWING}
        if differing:
            raise InputError(
                f"--out {self.path.parent}: holds a comparison with other settings "
                f"({first_few(differing)}); repeat those, or choose another folder"
            )
        self.settings |= grown

    def save(self) -> None:
        """Write the file."""
        trained = {name: asdict(record) for name, record in self.trained.items()}
        content = {"settings": self.settings, "iterations": self.iterations, "trained": trained}
        write_record(self.path, content)


def _shared(before: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[dict, dict]]:
    """What both name: of the settings that must stay, and of each of `GROWING`."""
    fixed = [key for key in now if key not in GROWING]
    yield {key: before[key] for key in fixed}, {key: now[key] for key in fixed}
    for group in GROWING:
        both = before[group].keys() & now[group].keys()
        yield {key: before[group][key] for key in both}, {key: now[group][key] for key in both}


def refuse_others(out: Path) -> None:
    """Raise InputError if a folder is full of something else than a comparison."""
    refusal = f"--out {out}: is not empty and holds no comparison; choose another folder"
    check_folder(out, FILE_NAME, refusal)


def held(out: Path) -> AbstractContextManager[int]:
    """Hold the folder against other comparisons; it is created if absent.

    Gives the lock's file number for trainers to inherit: one that survives its killed parent keeps
    the lock, so that no second one starts beside it.

    Raises:
        InputError: another process holds the folder, or it is full of something else.
    """
    refuse_others(out)
    out.mkdir(parents=True, exist_ok=True)
    other = "another comparison, or a training that one left behind"
    return locked(out / ".lock", f"{out}: {other}, still works here; wait for it or stop it")


def open_state(work: Work, keep: bool = True) -> ComparisonState:
    """What is finished in a comparison's folder; arguments and errors as of `ComparisonState`."""
    settings = work.settings
    tests = {
        f"{name} x{scale}": f"{folder.resolve()}, {set_digest(folder, scale)}"
        for name, folder in settings.tests.items()
        for scale in settings.scales
        if is_prepared(folder, scale)
    }
    trained = [run for run in work.runs if run.seed is not None]
    record = {
        "data": str(settings.data.resolve()),
        "minutes": settings.minutes,
        "validations": settings.validations,
        "tests": tests,
        "options": work.bases,
        "lengths": {f"iterations of {run.setting}": work.length(run) for run in trained},
    }
    return ComparisonState(work.out, record, keep)
