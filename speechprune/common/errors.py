"""What an exception becomes: the ``error`` of one recording's rows, or the end of the run."""

from __future__ import annotations

import torch


class DeviceError(OSError):
    """A GPU that failed for good: whatever this process asks of it from now on fails, too."""


def explain(error: Exception) -> str:
    """One line: the message of an error that was worded for the user, with the type in front of any other.

    Raises:
        DeviceError: ``error`` says that the GPU is gone. It is no recording's fault, and must not become its rows.
    """
    text = " ".join(str(error).split())
    if isinstance(error, torch.AcceleratorError):
        raise DeviceError(f"the GPU failed ({text}); finished work is kept: run the same command again") from error
    return text if text and isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {text}"
