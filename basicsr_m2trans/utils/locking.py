"""One process at a time in a folder or file: locks that end with their holder, however it ends."""

import contextlib
import errno
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from basicsr_m2trans.utils.errors import InputError

# The loaders of a trainer that was killed inherit its lock and notice only after seconds.
PATIENCE = 10.0
_POLL_SECONDS = 0.2
# Of file systems without locks, such as some network disks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def locked(path: Path, refusal: str, patience: float | None = None) -> Iterator[int]:
    """Hold a lock, or print a warning and continue on file systems without locks.

    Yields the file's number for child processes to inherit: one that survives its killed parent
    keeps the lock.

    Args:
        path: a folder, or a file that is created if absent and stays behind.
        patience: seconds to wait for another holder; default `PATIENCE`.

    Raises:
        InputError: with `refusal`, another process holds it; or the file cannot be made.
    """
    try:
        # Another user's file is as good: a lock needs no leave to write.
        descriptor = os.open(path, os.O_RDONLY | (0 if path.is_dir() else os.O_CREAT), 0o666)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}); make its folder writable"
        ) from error
    try:
        _take_lock(descriptor, refusal, PATIENCE if patience is None else patience)
        try:
            yield descriptor
        finally:
            # Closing is not enough where a child process still has the file.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _take_lock(descriptor: int, refusal: str, patience: float) -> None:
    deadline = time.monotonic() + patience
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise InputError(refusal) from None
            if not told:
                print(f"waiting {patience:.0f} s: {refusal}", file=sys.stderr, flush=True)
                told = True
            time.sleep(_POLL_SECONDS)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            text = f"no protection against a second run here: {error.strerror}"
            print(text, file=sys.stderr, flush=True)
            return
