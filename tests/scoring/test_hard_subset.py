"""The hard subset: what a system got wrong, with rotations, errors and several questions a recording."""

from __future__ import annotations

import pytest
from helpers.fakes import make_corpus
from helpers.hypotheses import error_row, row, write_rows

from speechprune.data.cuts import read_cuts, write_cuts
from speechprune.scoring.hard_subset import hard_questions, write_hard


@pytest.fixture
def cuts(tmp_path):
    """Four recordings with some questions each; those of the first go by the ids that the rows have."""
    found = make_corpus(tmp_path, 4, 2.0)
    write_cuts(tmp_path / "cuts.jsonl", found)
    return found


def rows_of(cuts, *predictions: str | None) -> list[dict]:
    ids = [question["id"] for cut in cuts for question in cut.custom["questions"]]
    found = [row(k, "original", None, prediction) for k, prediction in enumerate(predictions)]
    return [item | {"id": name} for item, name in zip(found, ids, strict=False)]


def test_the_cuts_keep_their_hard_questions_alone(tmp_path, cuts):
    rows = rows_of(cuts, *("AB" * 6))
    write_rows(tmp_path / "exp", rows)
    hard, answered, problems = hard_questions(tmp_path / "cuts.jsonl", tmp_path / "exp", "original")
    wrong = {item["id"] for item in rows if item["prediction"] != "A"}
    assert (hard, answered, problems) == (wrong, {item["id"] for item in rows}, [])
    ids = write_hard(tmp_path / "cuts.jsonl", tmp_path / "out", hard)
    found = list(read_cuts(tmp_path / "out", []))
    assert [cut.id for cut in found] == ids
    assert {question["id"] for cut in found for question in cut.custom["questions"]} == wrong
    assert all(cut.custom["hard"] for cut in found)


def test_a_rotated_question_is_hard_below_one_half(tmp_path, cuts):
    question = cuts[0].custom["questions"][0]
    name, count = question["id"], len(question["choices"])
    letters = ["ABCD"[(question["answer"] - k) % count] for k in range(count)]
    for right, expected in ((1, {name}), (2, set())):
        said = [letter if k < right else "ABCD"[letter == "A"] for k, letter in enumerate(letters)]
        turned = [row(0, "full", None, said[k], answer=letters[k], rotation=k) | {"id": name} for k in range(count)]
        write_rows(tmp_path / str(right), [item | {"choice_logprobs": [-1.0] * count} for item in turned])
        assert hard_questions(tmp_path / "cuts.jsonl", tmp_path / str(right), "full")[0] == expected


def test_what_has_no_answer_is_not_hard(tmp_path, cuts):
    name = cuts[0].custom["questions"][0]["id"]
    write_rows(tmp_path / "exp", [error_row(0, "original") | {"id": name}])
    with pytest.raises(ValueError, match="original has not one answer without an error"):
        hard_questions(tmp_path / "cuts.jsonl", tmp_path / "exp", "original")
    with pytest.raises(ValueError, match=r"no system 'rap_0\.4'; choose from: original"):
        hard_questions(tmp_path / "cuts.jsonl", tmp_path / "exp", "rap_0.4")
    with pytest.raises(ValueError, match="not one of its questions is hard"):
        write_hard(tmp_path / "cuts.jsonl", tmp_path / "out", set())
    assert not (tmp_path / "out").exists()
