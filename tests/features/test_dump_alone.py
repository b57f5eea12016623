"""A dump is read by a process that has written none: what reads its archives must come with the reader."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from helpers.fakes import extract, make_corpus

from speechprune.data.cuts import write_cuts


def test_states_are_loaded_without_the_module_that_extracts(tmp_path: Path):
    write_cuts(tmp_path / "cuts.jsonl.gz", make_corpus(tmp_path, 1, 2.0))
    extract(tmp_path)
    script = """
import sys
from speechprune.features.dump import load_states, read_dump
(cut,) = read_dump(sys.argv[1], [])
print(load_states(cut).shape, "speechprune.features.extract" in sys.modules)
"""
    words = [sys.executable, "-c", script, str(tmp_path / "dump")]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.stdout == "(50, 4) False\n", result.stderr
