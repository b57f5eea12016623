"""Reading a dump: by a process that has written none, in part, and where its list of recordings is damaged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.fakes import extract, make_corpus
from lhotse import MonoCut

from speechprune.data.cuts import write_cuts
from speechprune.decoding.expected import dump_questions
from speechprune.features.dump import read_dump


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


@pytest.mark.parametrize("text", ["", "{}", "[1]", '"test-0000"', "null", '["a", null]', "[[]]"])
def test_a_list_of_recordings_of_another_shape_is_named(tmp_path: Path, text: str):
    (tmp_path / "recordings.json").write_text(text)
    for reader in (lambda: read_dump(tmp_path, []), lambda: dump_questions(tmp_path)):
        with pytest.raises(ValueError, match=r"recordings\.json .*; run stage 2 \(features\) again"):
            reader()


def test_only_the_wanted_recordings_are_read(tmp_path: Path, monkeypatch):
    write_cuts(tmp_path / "cuts.jsonl.gz", make_corpus(tmp_path, 3, 2.0))
    extract(tmp_path)
    made, from_dict = [], MonoCut.from_dict
    monkeypatch.setattr(MonoCut, "from_dict", lambda row: made.append(row["id"]) or from_dict(row))
    assert [cut.id for cut in read_dump(tmp_path / "dump", [], {"test-0001", "test-0009"})] == ["test-0001"]
    assert made == ["test-0001"]
