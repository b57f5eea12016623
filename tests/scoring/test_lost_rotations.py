"""``permute: cyclic`` with ``mode: generate``: no log-probabilities say how many rotations a question has."""

from __future__ import annotations

import pytest
from helpers.decoding import config_of, make_dump, make_recordings, run, tiny_llm
from helpers.hypotheses import row

from speechprune.decoding.hypotheses import read_hypotheses
from speechprune.scoring.tally import missing_questions, question_scores


def replies(system: str, *rotations: int, **changes: object) -> list[dict]:
    said = {"choice_logprobs": None, "reply": "A", "choices": 4}
    return [row(0, system, rotation=r, **(said | changes)) for r in rotations]


@pytest.mark.parametrize("kept", [(0, 1, 2), (1, 2, 3), (0, 1, 3), (2,)])
def test_a_lost_rotation_is_a_missing_question(kept):
    rows = [*replies("full", 0, 1, 2, 3), *replies("original", *kept)]
    assert missing_questions(rows) == {"original": 1}
    assert question_scores(replies("original", *kept)) == {}
    assert question_scores(replies("full", 0, 1, 2, 3)) == {"test-0000-q0": 1.0}


def test_rows_of_before_show_a_hole():
    assert question_scores(replies("original", 0, 2, choices=None)) == {}


def test_decode_says_how_many_choices_there_are(tmp_path):
    model = tiny_llm(tmp_path / "model")
    dump = make_dump(tmp_path, make_recordings(tmp_path, (4.0,)), model)
    config = config_of(tmp_path, systems=["original"]).changed(mode="generate", permute="cyclic")
    run(dump, tmp_path / "exp", config, model)
    path = tmp_path / "exp/original/hyp.1.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    assert missing_questions(read_hypotheses(tmp_path / "exp", []).rows) == {}
    path.write_text("".join(lines[:1] + lines[2:]))
    assert missing_questions(read_hypotheses(tmp_path / "exp", []).rows) == {"original": 1}
