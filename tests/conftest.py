"""What holds for the whole suite."""

import os
import signal

from hypothesis import settings

# Property tests try the same examples in every run; `pytest --hypothesis-profile=default` tries new ones.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

# Tests that run side by side share the cores, and so do the processes that they start. Before torch is imported.
processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))

# Shells start commands in the background with Ctrl-C ignored, and every child would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
