"""Fixtures of several files: imported into each, one for a whole session would exist once a file; and an option."""

import signal

from helpers.skips import pytest_addoption, pytest_configure  # noqa: F401
from helpers.slurm_calls import offline, recipe, tool  # noqa: F401
from helpers.slurm_cluster import cluster  # noqa: F401

# Under nohup, and in the background of a script, these are ignored, and so would all be that tests start and signal.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)
