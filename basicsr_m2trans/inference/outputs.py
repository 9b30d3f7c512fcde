"""What enlarging a file returns, and files that appear complete or not at all."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DISCLAIMER = "research use, not for diagnosis"

# Called with the number of frames done and of all frames, if that is known.
Report = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Enlarged:
    """An enlarged file.

    Attributes:
        before, after: the image, or the first frame, (h, w, c) in the order RGB, c = 1 to 4; uint8 or uint16.
        frames: number of frames, 1 for an image.
        notes: what the user should know of this file.
    """

    before: np.ndarray
    after: np.ndarray
    frames: int = 1
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, beside `path`, that becomes `path` when the block ends well.

    An error or Ctrl-C in the block removes it. Missing folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
