"""Records of what a command has done so far and with which settings, so that it may go on later."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from basicsr_m2trans.utils.atomic import partial_path, write_atomic
from basicsr_m2trans.utils.errors import InputError


def check_folder(folder: Path, record: str, refusal: str) -> None:
    """Refuse a folder that is full of something else than the work of which `record` tells.

    What begins with a dot does not count, nor what a run leaves that was killed at once.

    Raises:
        InputError: `refusal`, where it is one, or no folder.
    """
    if not folder.exists():
        return
    if folder.is_dir():
        names = set(os.listdir(folder)) - {partial_path(Path(record)).name}
        if record in names or all(name.startswith(".") for name in names):
            return
    raise InputError(refusal)


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Take errors in a block that reads a record for damage of its file; names file and remedy."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is damaged ({error!r}); {remedy}") from error


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write a record as JSON; it replaces an earlier one as a whole."""
    write_atomic(path, json.dumps(content, indent=1).encode())


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], nested: bool = False
) -> list[str]:
    """Sentences about the settings, as JSON values, that are not equal, sorted.

    `nested` names the members of dictionaries that differ, rather than the whole.
    """
    found = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if nested and isinstance(old, dict) and isinstance(new, dict):
            found += [f"{key}: {sentence}" for sentence in differences(old, new, nested)]
        elif old != new:
            found.append(f"{key} was {old!r} and is now {new!r}")
    return found
