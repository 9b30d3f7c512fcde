"""Worker processes that end with the process that started them."""

import multiprocessing
import os
import signal
import threading
import time

# How long a worker may outlive a parent that was killed.
_LOOK_SECONDS = 0.5


def end_with_parent() -> None:
    """End this process, with status 0, when its parent has ended or sends it SIGTERM.

    Call it first of all in a process that `multiprocessing` has forked or spawned. Where SIGTERM is
    blocked in all threads of the process, that of any other sender has no effect: terminals and
    schedulers send it to all processes of a run, and the parent alone decides what becomes of them.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None  # only workers call this
    threading.Thread(target=_watch, args=(parent.pid,), daemon=True).start()


def _watch(parent: int) -> None:
    # A parent that is killed sends nothing.
    while os.getppid() == parent:
        if not hasattr(signal, "sigtimedwait"):  # macOS
            time.sleep(_LOOK_SECONDS)
            continue
        # A signal handler of Python does not learn who has sent it.
        received = signal.sigtimedwait([signal.SIGTERM], _LOOK_SECONDS)
        if received is not None and received.si_pid == parent:
            break
    os._exit(0)
