"""Writing files so that a reader never meets half of one."""

import contextlib
import os
from pathlib import Path


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, flush it to the disk and rename it into place.

    `path` is then absent, old or complete, also after a crash of the machine. A kill leaves at most
    `<path>.partial`, which the next write of the same file replaces.

    Raises:
        OSError: the folder does not exist, is not writable, or its disk is full; nothing is left of
            the new data.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        # A full disk gets back the space.
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    os.replace(partial, path)
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Make the renaming of a file survive a crash of the machine."""
    if os.name != "posix":
        return  # Windows opens no folders.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
