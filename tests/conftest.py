"""What holds for the whole suite."""

import signal

from hypothesis import settings

# Property tests try the same examples in every run; `pytest --hypothesis-profile=default` tries new ones.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

# Shells start commands in the background with Ctrl-C ignored, and every child would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
