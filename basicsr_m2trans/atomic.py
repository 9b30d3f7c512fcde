"""Writing files so that a reader never meets half of one."""

import os
from pathlib import Path


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` beside `path` and rename it into place, so that `path` is absent, old or complete.

    A kill leaves at most `<path>.partial`, which the next write of the same file replaces.

    Raises:
        OSError: the folder does not exist, is not writable, or its disk is full.
    """
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)
