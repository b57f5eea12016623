"""Rows read and merged; the field ``kept``: which audio tokens were read."""

from __future__ import annotations

import base64
import json
import math
import zlib

import numpy as np
import pytest
from helpers.hypotheses import error_row, row, write_rows

from speechprune.common.files import Problem
from speechprune.decoding.hypotheses import pack_tokens, read_hypotheses, replaced_audio, unpack_tokens


@pytest.mark.parametrize("total", [1, 7, 8, 9, 2250])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_tokens_come_back_as_they_were(total, share):
    kept = np.flatnonzero(np.random.default_rng(total).random(total) < share)
    found = unpack_tokens(pack_tokens(kept, total), total)
    assert found.dtype == np.int64
    assert found.tolist() == kept.tolist()


def test_the_form_is_one_bit_a_token():
    """Written out, since rows outlive versions and other tools read them: first token first, in the highest bit."""
    assert zlib.decompress(base64.b64decode(pack_tokens([0, 2, 9], 10))) == bytes([0b10100000, 0b01000000])
    assert len(pack_tokens(range(0, 2250, 3), 2250)) < 400


@pytest.mark.parametrize("text", ["", "no base64!", "AAAA", pack_tokens([1], 80), pack_tokens([1], 10)[:-8]])
def test_what_is_not_about_the_recording_is_refused(text):
    with pytest.raises(ValueError, match=r"^kept: "):
        unpack_tokens(text, 10)


def test_a_bomb_is_not_unpacked():
    bomb = base64.b64encode(zlib.compress(bytes(10**8))).decode()
    with pytest.raises(ValueError, match="is not about 10 audio tokens"):
        unpack_tokens(bomb, 10)


def test_a_row_without_error_supersedes_one_with_error_and_else_the_first_wins(tmp_path):
    write_rows(tmp_path, [row(2, "rap", 0.4, "C"), error_row(0, "rap", 0.4), row(1, "rap", 0.4, "B")])
    write_rows(tmp_path, [row(0, "rap", 0.4, "D"), row(1, "rap", 0.4, "A"), error_row(2, "rap", 0.4)], "hyp.2.jsonl")
    write_rows(tmp_path, [row(0, "rap", 0.2), row(0, "full")])
    problems: list[Problem] = []
    rows = read_hypotheses(tmp_path, problems).rows
    assert problems == []
    assert [(r["system"], r["rate"], r["id"], r["prediction"]) for r in rows] == [
        ("full", None, "test-0000-q0", "A"),
        ("rap", 0.2, "test-0000-q0", "A"),
        ("rap", 0.4, "test-0000-q0", "D"),
        ("rap", 0.4, "test-0001-q0", "B"),
        ("rap", 0.4, "test-0002-q0", "C"),
    ]


@pytest.mark.parametrize("aside", ["old_rap_0.4", "rap_0.4.bak"])
def test_a_folder_put_aside_answers_for_nobody(tmp_path, aside):
    """Not even where the new rows have an error, or its name comes first."""
    write_rows(tmp_path, [row(0, "rap", 0.4, "A"), row(1, "rap", 0.4, "A")])
    (tmp_path / "rap_0.4").rename(tmp_path / aside)
    (tmp_path / aside / "config.json").write_text(json.dumps({"name": "rap", "rate": 0.4, "audio": "silence"}))
    rows = read_hypotheses(tmp_path, problems := []).rows
    assert ([r["prediction"] for r in rows], problems) == (["A", "A"], [])  # alone it is the system's
    assert replaced_audio(tmp_path) == {"rap_0.4": "silence"}
    write_rows(tmp_path, [row(0, "rap", 0.4, "B"), error_row(1, "rap", 0.4), row(0, "full")])
    rows = read_hypotheses(tmp_path, problems).rows
    assert [(r["system"], r["prediction"]) for r in rows] == [("full", "A"), ("rap", "B"), ("rap", None)]
    (problem,) = map(str, problems)
    assert aside in problem and "rows: 2 of the system whose rows are in rap_0.4; left out" in problem
    assert replaced_audio(tmp_path) == {}


def test_hypotheses_are_found_at_any_depth_and_other_files_are_not_read(tmp_path):
    write_rows(tmp_path / "deep" / "er", [row(0, "full")])
    write_rows(tmp_path, [row(1, "full")], "notes.jsonl")
    assert [r["id"] for r in read_hypotheses(tmp_path, []).rows] == ["test-0000-q0"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("id", ""), ("id", "test-0000\nq0"), ("system", 3), ("answer", None), ("prediction", 2), ("tokens", -1)),
        *(("rate", 1.5), ("rate", True), ("rate", "0.4"), ("evidence_recall", math.nan), ("evidence_recall", 1.01)),
        *(("choice_logprobs", "A"), ("error", "")),
    ],
)
def test_a_row_that_breaks_the_form_is_reported_and_left_out(tmp_path, field, value):
    path = tmp_path / "hyp.1.jsonl"
    path.write_text(json.dumps(row(1, "full")) + "\n" + json.dumps(row(0, "full") | {field: value}) + "\n")
    problems: list[Problem] = []
    assert [r["id"] for r in read_hypotheses(tmp_path, problems).rows] == ["test-0001-q0"]
    assert [(p.where, p.field) for p in problems] == [(f"{path}:2", field)]


def test_a_row_without_a_prediction_key_is_no_unparsed_answer(tmp_path):
    broken = row(0, "full")
    del broken["prediction"]
    write_rows(tmp_path, [broken])
    problems: list[Problem] = []
    assert read_hypotheses(tmp_path, problems).rows == []
    assert "prediction: missing" in str(problems[0])
