"""What an annotation has done so far, and with which settings: a line of JSON for each image."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.locking import locked
from basicsr_m2trans.utils.names import first_few
from basicsr_m2trans.utils.resumable import differences, reading


@dataclass(frozen=True)
class Description:
    """One description of an image with what it came from (Eq. 15).

    Attributes:
        caption: T_p, the refined description.
        raw: T_c, the description before refinement.
        score: e, the cosine of image and caption, -1 to 1.
        box: left, top, width and height of the region R in pixels.
        area: area of R as a fraction of the image.
    """

    caption: str
    raw: str
    score: float
    box: tuple[int, int, int, int]
    area: float


@contextmanager
def open_state(path: Path, settings: dict[str, Any]) -> Iterator["AnnotationState"]:
    """Hold the file that makes an annotation resumable against other processes.

    Args:
        path: the file; created if absent.
        settings: all that descriptions depend on, as JSON values.

    Raises:
        InputError: the file holds an annotation with other settings, which are named; it is
            damaged; or another process works on it.
    """
    refusal = f"{path}: another process works on this annotation; wait for it or stop it"
    with locked(path, refusal, patience=0):
        yield AnnotationState(path, settings)


class AnnotationState:
    """The state file; its first line holds the settings.

    A finished image is one appended line, on disk before the next image begins. What a kill leaves
    of a line is cut off. Args and errors as of `open_state`, which makes one.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self._done: dict[str, tuple[str, list[Description]]] = {}
        content = path.read_bytes()
        if not content:
            self._append({"settings": settings})
            return
        *lines, torn = content.split(b"\n")
        with reading(path, "delete it to start again"):
            before = json.loads(lines[0])["settings"]
            for record in map(json.loads, lines[1:]):
                descriptions = [
                    Description(**fields | {"box": tuple(fields["box"])})
                    for fields in record["found"]
                ]
                self._done[record["image"]] = record["sha256"], descriptions
            differing = differences(before, json.loads(json.dumps(settings)))
        if differing:
            raise InputError(
                f"{path}: was made with other settings ({first_few(differing)}); repeat those, "
                "choose another output file, or delete this file to start again"
            )
        os.truncate(path, len(content) - len(torn))

    def _append(self, record: dict[str, Any]) -> None:
        with self.path.open("ab") as stream:
            stream.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def get(self, image: str, sha256: str) -> list[Description] | None:
        """The descriptions of an image, or None if it is not done or its file has changed since."""
        digest, descriptions = self._done.get(image, (None, None))
        return descriptions if digest == sha256 else None

    def add(self, image: str, sha256: str, descriptions: list[Description]) -> None:
        """Record a finished image by its name and its file's digest, over an earlier record."""
        self._append(
            {"image": image, "sha256": sha256, "found": [asdict(found) for found in descriptions]}
        )
        self._done[image] = sha256, descriptions
