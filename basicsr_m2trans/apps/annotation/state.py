"""What an annotation has done so far, and with which settings: one line of JSON for each finished
image.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.locking import take_lock
from basicsr_m2trans.utils.names import first_few


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


class AnnotationState:
    """The file that makes an annotation resumable; its first line holds the settings.

    A finished image is one appended line, on disk before the next image begins. What a kill leaves
    of a line is cut off. The file is locked while the object is open; use it in a `with` statement.

    Args:
        path: the file; created if absent.
        settings: all that descriptions depend on, as JSON values.

    Raises:
        InputError: the file holds an annotation with other settings, which are named; it is
            damaged; or another process works on it.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self._done: dict[str, tuple[str, list[Description]]] = {}
        self._stream = path.open("a+b")
        try:
            take_lock(
                self._stream,
                f"{path}: another process works on this annotation; wait for it or stop it",
            )
            self._load(json.loads(json.dumps(settings)))
        except BaseException:
            self._stream.close()
            raise

    def _load(self, settings: dict[str, Any]) -> None:
        self._stream.seek(0)
        content = self._stream.read()
        if not content:
            self._append({"settings": settings})
            return
        lines = content.split(b"\n")
        torn = lines.pop()
        try:
            before = json.loads(lines[0])["settings"]
            for line in lines[1:]:
                record = json.loads(line)
                descriptions = [
                    Description(**fields | {"box": tuple(fields["box"])})
                    for fields in record["found"]
                ]
                self._done[record["image"]] = record["sha256"], descriptions
            differing = [
                f"{key} was {before.get(key)!r} and is now {settings.get(key)!r}"
                for key in sorted(before.keys() | settings.keys())
                if before.get(key) != settings.get(key)
            ]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self.path}: is damaged ({error!r}); delete it to start again"
            ) from error
        if differing:
            raise InputError(
                f"{self.path}: was made with other settings ({first_few(differing)}); repeat "
                "those, choose another output file, or delete this file to start again"
            )
        self._stream.truncate(len(content) - len(torn))

    def _append(self, record: dict[str, Any]) -> None:
        self._stream.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def get(self, image: str, sha256: str) -> list[Description] | None:
        """The descriptions of an image, or None if it is not done or its file has changed since."""
        digest, descriptions = self._done.get(image, (None, None))
        return descriptions if digest == sha256 else None

    def add(self, image: str, sha256: str, descriptions: list[Description]) -> None:
        """Record a finished image by its name and its file's digest; it replaces an earlier record
        of that name.
        """
        self._append(
            {"image": image, "sha256": sha256, "found": [asdict(found) for found in descriptions]}
        )
        self._done[image] = sha256, descriptions

    def __enter__(self) -> "AnnotationState":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
