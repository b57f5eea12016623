"""Mode open in stage 4: SQuAD's exact match and F1, and tables of their own."""

from __future__ import annotations

import json

import pytest
from helpers.hypotheses import error_row, row, write_rows

from speechprune.decoding.rows import row_problem
from speechprune.report.scores import read_scores
from speechprune.scoring.open_answers import exact_match, graded, normalised, open_scores, token_f1
from speechprune.scoring.stage import write_results


def open_row(number: int, system: str, reply: str, answers: list[str], **changes) -> dict:
    said = {"mode": "open", "reply": reply, "answers": answers, "choice_logprobs": None}
    return row(number, system, None, reply or None, answer="?", **said, **changes)


# Worked by hand from the definitions in SQuAD's evaluate-v1.1.py.
@pytest.mark.parametrize(
    ("reply", "answers", "exact", "f1"),
    [
        ("The Denver Broncos.", ["denver  broncos"], True, 1.0),
        ("a red bag", ["red"], False, 2 / 3),
        ("Broncos", ["Denver Broncos", "the Broncos"], True, 1.0),
        ("red red", ["red blue"], False, 0.5),
        ("", ["red"], False, 0.0),
        ("the", ["an"], True, 0.0),
        ("blue", ["red"], False, 0.0),
        ("U.S.", ["us"], True, 1.0),
    ],
)
def test_exact_match_and_f1(reply, answers, exact, f1):
    assert exact_match(reply, answers) is exact
    assert token_f1(reply, answers) == pytest.approx(f1)


def test_articles_are_words_of_their_own():
    assert normalised("Another theme, an Anthem") == "another theme anthem"


def rows() -> list[dict]:
    replies = {"full": ["Red.", "a red bag", "blue", ""], "original": ["green", "red", "blue", "red"]}
    found = [open_row(k, name, said, ["red"]) for name, all_ in replies.items() for k, said in enumerate(all_)]
    return [*found, error_row(9, "full") | {"mode": "open", "reply": None, "answers": ["red"], "answer": "?"}]


def test_rows_are_valid_and_graded():
    assert [row_problem(one) for one in rows()] == [None] * 9
    assert [one["prediction"] for one in graded(rows())] == [
        *("right", "wrong", "wrong", None, "wrong", "right", "wrong", "right", None),
    ]
    assert row_problem(open_row(0, "full", "x", ["red", 3])).field == "answers"


def test_tables(tmp_path):
    folder = tmp_path / "test"
    write_rows(folder, rows())
    systems = {system.system: system for system in write_results(folder, "x")}
    assert (systems["full"].n, systems["full"].accuracy, systems["full"].unparsed) == (4, 0.25, 1)
    assert systems["full"].errors == 1
    assert (systems["full"].against.better, systems["full"].against.worse) == (1, 2)
    assert systems["full"].hard.n == 2  # Original was wrong on the first and the third
    full = next(score for score in open_scores(rows()) if score.system == "full")
    assert full.f1 == pytest.approx((1 + 2 / 3) / 4, abs=1e-6)
    document = read_scores(folder / "score.json")
    assert (document["mode"], document["chance"]) == ("open", None)
    assert "constant_letter" not in document and document["systems"][0]["letters"] == {}
    page = (folder / "RESULTS.md").read_text()
    assert page.startswith("# Results: test, mini, open (exact match)\n")
    assert "| Full | - | 4 | 25.00 | 4.56 to 69.94 | 41.67 |" in page
    assert "## Against Original, open (exact match)\n" in page
    assert "Balanced" not in page and "onstant letter" not in page and "A guess" not in page


def test_letters_stand_first(tmp_path):
    folder = tmp_path / "test"
    write_rows(folder, [row(0, "original")])
    (folder / "original_open").mkdir()
    (folder / "original_open/hyp.1.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in rows()))
    write_results(folder, "x")
    document = read_scores(folder / "score.json")
    assert [document["mode"], *(part["mode"] for part in document["others"])] == ["letters", "open"]
    assert (folder / "score.open.csv").is_file()
