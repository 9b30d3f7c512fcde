"""The record that `m2trans prepare` keeps in its output folder, to stop and go on anywhere."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from basicsr_m2trans.data.dicom import is_dicom_file
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.resumable import check_folder, differences, reading, write_record

FILE_NAME = "manifest.json"


@dataclass
class Source:
    """What became of one source file, whose `fingerprint` was `size` and `mtime_ns`."""

    size: int
    mtime_ns: int
    # (h, w, c) in pixels of each HR image made from it, by name; empty if skipped.
    images: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    skipped: str | None = None  # the reason


class Manifest:
    """Parameters and state of one output folder; `save` replaces `manifest.json` as a whole.

    Attributes:
        scales: those of earlier runs and those wanted now, sorted.
        sources: by `SourceFile.key`.
        lmdbs: digest of the images that each finished LMDB folder holds, by folder name.

    Args:
        out: the output folder; created if absent.
        parameters: all else that the output depends on, as JSON values.
        scales: scales that are wanted now.

    Raises:
        InputError: `out` holds something else than an earlier output, or one with other parameters,
            or its manifest is damaged.
    """

    def __init__(self, out: Path, parameters: dict, scales: Iterable[int]) -> None:
        self.path = out / FILE_NAME
        self.parameters = parameters
        self.scales = sorted(set(scales))
        self.sources: dict[str, Source] = {}
        self.lmdbs: dict[str, str] = {}
        if self.path.is_file():
            self._load()
        else:
            refusal = "is not empty and was not made by this command; choose another output folder"
            check_folder(out, FILE_NAME, f"{out}: {refusal}")
            out.mkdir(parents=True, exist_ok=True)
            self.save()

    def _load(self) -> None:
        with reading(self.path, "delete its folder and prepare it again"):
            content = json.loads(self.path.read_bytes())
            self.scales = sorted({*self.scales, *content["scales"]})
            self.sources = {path: Source(**record) for path, record in content["sources"].items()}
            self.lmdbs = content["lmdbs"]
            differing = differences(content["parameters"], self.parameters)
        if differing:
            raise InputError(
                f"{self.path.parent}: was made with other parameters ({'; '.join(differing)}); "
                "choose another output folder, or repeat the parameters"
            )

    def save(self) -> None:
        content = {
            "parameters": self.parameters,
            "scales": self.scales,
            "lmdbs": self.lmdbs,
            "sources": {path: asdict(self.sources[path]) for path in sorted(self.sources)},
        }
        write_record(self.path, content)

    def images(self) -> dict[str, tuple[int, int, int]]:
        """(h, w, c) of every HR image by name, sorted by name."""
        return dict(
            sorted(pair for source in self.sources.values() for pair in source.images.items())
        )

    def digest(self) -> str:
        """Changes when an image is added, removed or made again from a changed source."""
        made = sorted((path, s.size, s.mtime_ns) for path, s in self.sources.items() if s.images)
        return hashlib.sha256(json.dumps(made).encode()).hexdigest()


def fingerprint(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in ns of a file: what `Source` is compared by.

    For DICOM files the time is 0: it may be the day of the examination; their key has the content.
    """
    status = os.stat(path)
    return status.st_size, 0 if is_dicom_file(path) else status.st_mtime_ns
