"""What a file that is upscaled consists of."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# Called with the number of frames done and of all frames, if that is known.
Report = Callable[[int, int | None], None]


class Frame(NamedTuple):
    """One frame, as it was read or upscaled."""

    pixels: np.ndarray  # (h, w, c) in the order RGB, c = 1 to 4; uint8 or uint16
    context: Any = None  # what the file needs beside the pixels to write the frame


class MediaFile(ABC):
    """A file to upscale: read in one thread while another writes its first frames.

    Attributes:
        total: number of frames, if the file names it; known with the first frame.
        notes: what the user should know of this file; complete when all frames are read.
    """

    def __init__(self, source: Path, target: Path) -> None:
        self.source, self.target = source, target
        self.total: int | None = None
        self.notes: tuple[str, ...] = ()

    @abstractmethod
    def read(self) -> Iterator[Frame]:
        """The frames, at least one.

        Raises:
            InputError: the file is damaged or cannot be upscaled.
        """

    @abstractmethod
    def write(self, frames: Iterator[Frame]) -> None:
        """Write all frames to `target`, which appears with the last; errors leave nothing.

        Raises:
            InputError: `target` cannot hold them.
            OSError: the disk is full, or the folder cannot be written.
        """

    def close(self) -> None:  # noqa: B027  # most files have nothing open
        """Close `source`, after `read` and `write` have ended."""
