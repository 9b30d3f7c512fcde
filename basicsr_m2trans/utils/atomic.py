"""Writing files so that a reader never meets half of one."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from basicsr_m2trans.utils.errors import InputError


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, flush it to the disk and rename it into place.

    `path` is then absent, old or complete, also after a crash of the machine. A kill leaves at most
    `<path>.partial`, which the next write of the same file replaces.

    Raises:
        OSError: it cannot be written; nothing is left of the new data.
    """
    partial = partial_path(path)
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


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, beside `path`, that becomes `path` when the block ends well.

    An error or Ctrl-C in the block removes it. Missing folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def require_writable(folder: Path, option: str) -> None:
    """Check that files can be written to a folder, which need not exist.

    Raises:
        InputError: they cannot; the message names the command's `option`.
    """
    folder = folder.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(
            f"{option}: {existing} cannot be written ({error.strerror}); name another folder"
        ) from error


def partial_path(path: Path) -> Path:
    """Where `replacing` writes."""
    return path.with_name(f"{path.name}.partial")
