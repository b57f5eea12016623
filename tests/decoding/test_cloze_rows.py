"""``mode: cloze`` in stage 3: the prompt shows no choices, and a row says how likely each is as the answer."""

from __future__ import annotations

import pytest
import torch
from helpers.decoding import RECORDING, answer, config_of, make_dump, make_recordings, merged, questions, run, system

from speechprune.decoding.batches import batches
from speechprune.decoding.hypotheses import read_hypotheses
from speechprune.decoding.modes import by_way
from speechprune.pruners import RAP, Full


@pytest.fixture(scope="module")
def tokens(model):
    return model.project(torch.randn(100, 16, generator=torch.Generator().manual_seed(1)))


def test_replies_are_the_models(model, tokens):
    asked = questions(RECORDING)
    found = answer(model, tokens, [system(Full(), mode="cloze"), system(Full(), name="letters")], asked)
    for reply in found["full_cloze"]:
        prompt = model.prompt(reply.question["question"], None)
        ids = model.continuations(prompt, reply.question["choices"])
        (expected,) = model.cloze_logprobs([tokens], [prompt], [ids])
        assert reply.continuations == ids
        assert reply.logprobs == pytest.approx(expected, abs=1e-4)
    letters = [reply.logprobs for reply in found["letters"]]
    assert letters == [r.logprobs for r in answer(model, tokens, [system(Full(), name="letters")], asked)["letters"]]


def test_a_reply_counts_as_many_rows_as_it_has_choices(model, tokens):
    replies = answer(model, tokens, [system(RAP(), 0.2, mode="cloze")])["rap_0.2_cloze"]
    width = max(reply.end for reply in replies)
    counts = [len(batch) for batch in batches(replies, sum(reply.rows for reply in replies[:2]) * width)]
    assert sum(counts) == len(replies)
    assert max(counts) <= 2


def test_rows(tmp_path, model):
    dump = make_dump(tmp_path, make_recordings(tmp_path, (4.0,)), model)
    config = config_of(tmp_path, systems=["original", {"method": "full", "audio": "none", "name": "no_audio"}])
    run(dump, tmp_path / "exp", config.changed(mode="cloze"), model)
    rows = list(merged(tmp_path / "exp").values())
    assert len(rows) == 2 * len(questions(RECORDING))
    for row in rows:
        assert row["error"] is None
        assert row["mode"] == "cloze"
        assert "reply" not in row
        assert len(row["choice_tokens"]) == len(row["choice_logprobs"])
        assert all(count >= 1 for count in row["choice_tokens"])
        best = max(range(len(row["choice_logprobs"])), key=row["choice_logprobs"].__getitem__)
        assert row["prediction"] == "ABCDEFGHIJ"[best]


def test_letters_and_cloze_have_room_in_one_experiment(tmp_path, model):
    dump = make_dump(tmp_path, make_recordings(tmp_path, (1.2,)), model)
    config = config_of(tmp_path, systems=["original", {"method": "rap", "rates": [0.2]}])
    run(dump, tmp_path / "exp", config, model)
    (again,) = run(dump, tmp_path / "exp", config.changed(mode="cloze"), model)
    count = 2 * len(questions(RECORDING))
    assert (again.done, again.skipped) == (count, 0)
    ways = by_way(read_hypotheses(tmp_path / "exp", []).rows)
    assert {way: len(rows) for way, rows in ways.items()} == {"letters": count, "cloze": count}
    assert sorted(path.parent.name for path in (tmp_path / "exp").glob("*/config.json")) == [
        *("original", "original_cloze", "rap_0.2", "rap_0.2_cloze"),
    ]
    with pytest.raises(ValueError, match="original_cloze appears twice"):
        config_of(
            tmp_path, systems=[{"method": "original", "mode": "cloze"}, {"name": "original_cloze", "method": "full"}]
        )


def test_a_mode_for_all_makes_no_two_systems_one(tmp_path):
    both = config_of(tmp_path, systems=["original", {"method": "original", "mode": "cloze"}])
    with pytest.raises(ValueError, match="original_cloze appears twice with --mode cloze; give one"):
        both.changed(mode="cloze")


def test_rotations_are_refused(tmp_path):
    with pytest.raises(ValueError, match="original: permute cyclic with mode cloze, whose prompt shows no choices"):
        config_of(tmp_path, systems=["original"], mode="cloze", permute="cyclic")
    with pytest.raises(ValueError, match="permute cyclic with mode cloze"):
        config_of(tmp_path, systems=["original"], permute="cyclic").changed(mode="cloze")


def test_a_question_with_broken_choices_fails_alone(model, tokens):
    asked = [*questions(RECORDING), questions(RECORDING)[0] | {"id": "bad", "choices": ["one"]}]
    replies = answer(model, tokens, [system(Full(), mode="cloze")], asked)["full_cloze"]
    assert [reply.error is None for reply in replies] == [True, True, True, False]
    assert "give 2 to 10" in replies[-1].error
