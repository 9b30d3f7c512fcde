"""What holds for the whole suite."""

import contextlib
import os
import resource
import signal

import pytest
from hypothesis import settings

# Property tests try the same examples in every run; `pytest --hypothesis-profile=default` tries new ones.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

# Tests that run side by side share the cores, and so do the processes that they start. Before torch is imported.
processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // processes)))

# Shells start commands in the background with Ctrl-C ignored, and every child would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def files_no_larger_than():
    """A limit of bytes for the files that this process writes, for a `with`: to it, what a full disk is."""

    @contextlib.contextmanager
    def limited(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
