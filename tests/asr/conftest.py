"""One tiny Whisper for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.tiny_whisper import write_hearing_whisper


@pytest.fixture(scope="package")
def folder(tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    return write_hearing_whisper(tmp_path_factory.mktemp("whisper") / "tiny-whisper")
