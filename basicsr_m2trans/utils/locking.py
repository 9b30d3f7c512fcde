"""One process at a time in a folder or file: locks that the kernel releases when their holder ends,
however it ends.
"""

import contextlib
import errno
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from basicsr_m2trans.utils.errors import InputError

# The loaders of a trainer that was killed inherit its lock and notice only after seconds.
PATIENCE = 10.0
_POLL_SECONDS = 0.2
# Of file systems without locks, such as some network disks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def take_lock(file: int | IO[bytes], refusal: str, patience: float = 0.0) -> None:
    """Lock an open file or folder until it is closed; where the file system has no locks, say so
    and go on.

    Args:
        file: open file or its number.
        refusal: message of the error.
        patience: seconds to wait for another holder.

    Raises:
        InputError: another process holds the lock.
    """
    deadline = time.monotonic() + patience
    told = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
            print(
                f"no protection against a second run here: {error.strerror}",
                file=sys.stderr,
                flush=True,
            )
            return


@contextmanager
def locked(path: Path, refusal: str) -> Iterator[int]:
    """Hold a lock file, which is created if absent and stays behind, empty.

    Yields the file's number for child processes to inherit: one that survives its killed parent
    keeps the lock.

    Args:
        path: the lock file, in a folder that exists.
        refusal: message of the error where another process holds it.

    Raises:
        InputError: another process holds it for `PATIENCE` seconds, or the file cannot be made.
    """
    try:
        # Another user's file is as good: a lock needs no leave to write.
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}); make its folder writable"
        ) from error
    with open(descriptor, "rb") as file:
        take_lock(file, refusal, PATIENCE)
        try:
            yield descriptor
        finally:
            # Closing is not enough where a child process still has the file.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)
