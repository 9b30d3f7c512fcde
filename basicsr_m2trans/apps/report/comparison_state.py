"""What a comparison has done so far, and with which settings: the file comparison.json in its
folder.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from basicsr_m2trans.apps.report.training import Trained
from basicsr_m2trans.utils.atomic import write_atomic
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.locking import locked
from basicsr_m2trans.utils.names import first_few

FILE_NAME = "comparison.json"
LOCK_NAME = ".lock"
# Settings of which a later call may name other members: test sets, and the methods' options and
# lengths.
GROWING = ("tests", "options", "lengths")


class ComparisonState:
    """Settings and finished parts of the comparison in a folder; `save` replaces the file as a
    whole.

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
        InputError: the folder holds a comparison with other settings, which are named, or a damaged
            one.
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
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            before = content["settings"]
            self.iterations = content["iterations"]
            self.trained = {name: Trained(**record) for name, record in content["trained"].items()}
            differing = _differences(before, self.settings)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self.path}: is damaged ({error!r}); start again in another folder"
            ) from error
        if differing:
            raise InputError(
                f"--out {self.path.parent}: holds a comparison with other settings "
                f"({first_few(differing)}); repeat those, or choose another folder"
            )
        for key in GROWING:
            self.settings[key] = before[key] | self.settings[key]

    def save(self) -> None:
        """Write the file."""
        content = {
            "settings": self.settings,
            "iterations": self.iterations,
            "trained": {name: asdict(record) for name, record in self.trained.items()},
        }
        write_atomic(self.path, json.dumps(content, indent=1).encode())


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Sentences about the settings that both name and that are not equal."""
    pairs = [(key, before[key], now[key]) for key in now if key not in GROWING]
    for group in GROWING:
        pairs += [
            (key, before[group][key], now[group][key]) for key in now[group] if key in before[group]
        ]
    return [sentence for key, old, new in pairs for sentence in _compare(key, old, new)]


def _compare(key: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [
            sentence
            for name in keys
            for sentence in _compare(f"{key}: {name}", old.get(name), new.get(name))
        ]
    return [] if old == new else [f"{key} was {old!r} and is now {new!r}"]


def check_folder(out: Path) -> None:
    """Refuse a folder that is full of something else than a comparison.

    Raises:
        InputError: it is.
    """
    first_moments = {
        LOCK_NAME,
        f"{FILE_NAME}.partial",
    }  # all that a comparison killed at once leaves behind
    if (
        out.exists()
        and not (out / FILE_NAME).is_file()
        and (not out.is_dir() or set(os.listdir(out)) - first_moments)
    ):
        raise InputError(
            f"--out {out}: is not empty and holds no comparison; choose another folder"
        )


@contextmanager
def held(out: Path) -> Iterator[int]:
    """Hold the folder against other comparisons; it is created if absent.

    Yields the lock's file number for trainers to inherit: one that survives its killed parent keeps
    the lock, so that no second one starts beside it.

    Raises:
        InputError: another process holds the folder, or it is full of something else.
    """
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    refusal = (
        f"{out}: another comparison, or a training that one left behind, still works here; wait "
        "for it or stop it"
    )
    with locked(out / LOCK_NAME, refusal) as descriptor:
        yield descriptor
