"""Why something was not written."""

from __future__ import annotations


class EndpointError(OSError):
    """No reply came, for now: the sample can be written by a later run."""


class Stopped(OSError):  # noqa: N818  (a state, not a mistake)
    """Nothing more will be written in this run: the budget is spent, the endpoint refuses the key, ..."""
