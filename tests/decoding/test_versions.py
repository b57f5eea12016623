"""Rows of another version of their question: left out, counted, and the same number wherever anybody asks."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.decoding import config_of, make_dump, make_recordings, run
from helpers.fakes import rows
from helpers.shapes import JSON, PATIENT
from hypothesis import given
from hypothesis import strategies as st
from lhotse import AudioSource

from speechprune.cli import main
from speechprune.data.cuts import write_cuts
from speechprune.decoding.hypotheses import read_hypotheses
from speechprune.decoding.progress import count_rows
from speechprune.decoding.versions import UNVERIFIED, Question, Verdict, version_of
from speechprune.report.page.write import write_page
from speechprune.scoring.leaderboard import rank
from speechprune.scoring.stage import write_results

SYSTEMS = [
    "original",
    {"method": "rap", "rates": [0.2, 0.6]},
    {"name": "turned", "method": "full", "permute": "cyclic"},
]
QUESTION = {
    "id": "a-q0",
    "question": "Who?",
    "choices": ["Anna", "Ben"],
    "answer": 1,
    "evidence": [{"start": 1, "duration": 2}],
}


@pytest.fixture(scope="module")
def decoded(tmp_path_factory, model) -> Path:
    folder = tmp_path_factory.mktemp("decoded")
    run(make_dump(folder, make_recordings(folder, (2.0, 1.5)), model), folder / "exp", config(folder), model)
    return folder


@pytest.fixture
def stage(tmp_path, decoded) -> Path:
    return Path(shutil.copytree(decoded, tmp_path / "stage"))


def config(folder: Path):
    return config_of(folder, systems=SYSTEMS)


def edited(folder: Path) -> list:
    """The cuts with another text, and other names of choices, in the first question of the second recording."""
    cuts = make_recordings(folder, (2.0, 1.5))
    cuts[1].custom["questions"][0] |= {"question": "Which hue has the bag?", "choices": ["rot", "blau", "gelb", "lila"]}
    return cuts


def said(text: str) -> str:
    """How many rows a text says are of another version."""
    return re.search(r"(\d+) rows answer another version of 1 question, such as test-0001-q0", text)[1]


def test_everybody_says_the_same_number(stage, model, caplog):
    dump = make_dump(stage, edited(stage), model)
    words = ["progress", "decode", str(dump), str(stage / "exp"), "--config", str(stage / "decode.yaml")]
    progress = CliRunner().invoke(main, words).output
    total = 3 * 6 + 2 * (4 + 2 + 3)
    assert progress.startswith(f"{total - 7}/{total} rows; ")
    assert said(progress) == "7"  # one in each of three systems, four rotations in the fourth

    with caplog.at_level(logging.WARNING):
        write_results(stage / "exp", "score", cuts=stage / "cuts.jsonl")
    assert said(caplog.text) == "7"
    document = json.loads((stage / "exp" / "score.json").read_text())
    assert document["versions"] == {"left_out": 7, "questions": 1, "unverified": 0}
    assert {system["n"] for system in document["systems"]} == {5}
    assert document["expected"] == {"cuts": str(stage / "cuts.jsonl"), "questions": 6, "undecoded": 1}
    assert said((stage / "exp" / "RESULTS.md").read_text()) == "7"

    caplog.clear()
    with caplog.at_level(logging.WARNING):
        page = write_page(stage / "exp", stage / "cuts.jsonl").read_text()
    assert said(caplog.text) == said(page) == "7"
    assert "Which hue has the bag?" not in page

    (summary,) = run(dump, stage / "exp", config(stage), model)
    assert said(str(summary)) == "7"
    assert (summary.done, summary.skipped) == (7, total - 7)
    # Asked again, they are the rows that count.
    assert str(count_rows(dump, stage / "exp", stage / "decode.yaml")) == f"{total}/{total} rows"
    caplog.clear()
    write_results(stage / "exp", "score", cuts=stage / "cuts.jsonl")
    assert "another version" not in caplog.text
    assert run(dump, stage / "exp", config(stage), model)[0].problems == []


def test_a_ranking_is_of_the_questions_as_they_are_now(stage, model):
    dump = make_dump(stage, edited(stage), model)
    problems = []
    assert {entry.n for entry in rank(stage / "exp", "rap", problems)} == {5}
    assert said(str(*problems)) == "7"
    run(dump, stage / "exp", config(stage), model)
    ranked = rank(stage / "exp", "rap", problems := [])
    scores = {(one.system, one.rate): one.accuracy for one in write_results(stage / "exp", "score")}
    assert problems == []
    assert {(entry.system, entry.rate): entry.accuracy for entry in ranked} == scores


def test_scores_are_of_the_cuts_that_are_given(stage, caplog):
    write_cuts(stage / "cuts.jsonl", edited(stage))  # and neither stage 2 nor 3 has been run since
    write_results(stage / "exp", "score", cuts=stage / "cuts.jsonl")
    assert said(caplog.text) == "7"
    caplog.clear()
    write_results(stage / "exp", "score")
    assert "version" not in caplog.text


def test_scores_without_cuts_are_of_the_dump_as_it_is_now(stage, model, caplog):
    make_dump(stage, edited(stage), model)
    write_results(stage / "exp", "score")
    assert said(caplog.text) == "7"


def test_a_table_of_nothing_but_other_versions_is_refused(stage, model):
    cuts = make_recordings(stage, (2.0, 1.5))
    for question in (question for cut in cuts for question in cut.custom["questions"]):
        question["question"] += " Say it."
    write_cuts(stage / "cuts.jsonl", cuts)
    with pytest.raises(
        ValueError, match=r"36 rows answer another version of 6 questions, .*; run stages 2 and 3 again"
    ):
        write_results(stage / "exp", "score", cuts=stage / "cuts.jsonl")


def test_moving_a_corpus_and_other_metadata_empty_no_table(stage, model, tmp_path, caplog):
    (tmp_path / "elsewhere").mkdir()
    cuts = make_recordings(tmp_path / "elsewhere", (2.0, 1.5))
    for cut in cuts:
        cut.custom |= {"scenario": "lecture", "topic": "bags"}
        cut.custom["questions"][0] |= {"difficulty": 3}
        cut.recording.sources[0] = AudioSource("file", [0], str(tmp_path / "elsewhere" / f"{cut.id}.wav"))
    dump = make_dump(stage, cuts, model)
    (summary,) = run(dump, stage / "exp", config(stage), model)
    assert (summary.done, summary.failed, summary.problems) == (0, 0, [])
    write_results(stage / "exp", "score", cuts=stage / "cuts.jsonl")
    assert "version" not in caplog.text


def hashed(dump: Path, audio_hash: str) -> None:
    """The dump as stage 2 writes it when it knows the samples' hash."""
    path = dump / "cuts.1.jsonl"
    lines = rows(path)
    for line in lines:
        line["custom"]["audio_hash"] = audio_hash
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_other_samples_are_another_version(tmp_path, model, caplog):
    dump = make_dump(tmp_path, make_recordings(tmp_path, (2.0,)), model)
    hashed(dump, "one")
    run(dump, tmp_path / "exp", config(tmp_path), model)
    assert {row["audio_hash"] for row in rows(tmp_path / "exp" / "original" / "hyp.1.jsonl")} == {"one"}
    hashed(dump, "two")
    count = count_rows(dump, tmp_path / "exp", tmp_path / "decode.yaml")
    assert (count.done, count.left.keys, len(count.left.questions)) == (0, 18, 3)
    with pytest.raises(ValueError, match="18 rows answer another version of 3 questions"):
        write_results(tmp_path / "exp", "score", cuts=tmp_path / "cuts.jsonl")
    (summary,) = run(dump, tmp_path / "exp", config(tmp_path), model)
    assert summary.done == 18
    write_results(tmp_path / "exp", "score", cuts=tmp_path / "cuts.jsonl")
    # Rows and dumps that do not know their samples go on working.
    hashed(dump, None)
    assert run(dump, tmp_path / "exp", config(tmp_path), model)[0].skipped == 18


def aged(stage: Path) -> None:
    """Rows as an earlier version wrote them."""
    for path in (stage / "exp").rglob("hyp.*.jsonl"):
        lines = [{k: v for k, v in row.items() if k not in ("version", "audio_hash", "duration")} for row in rows(path)]
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_rows_of_earlier_versions_keep_working_unverified(stage, model, caplog):
    aged(stage)
    count = count_rows(stage / "dump", stage / "exp", stage / "decode.yaml")
    assert str(count) == f"36/36 rows; 36 {UNVERIFIED}"
    (summary,) = run(stage / "dump", stage / "exp", config(stage), model)
    assert (summary.done, summary.skipped) == (0, 36)
    assert "36 rows of an earlier speechprune" in str(summary)
    write_results(stage / "exp", "score", cuts=stage / "cuts.jsonl")
    assert "36 rows of an earlier speechprune" in caplog.text
    document = json.loads((stage / "exp" / "score.json").read_text())
    assert document["versions"] == {"left_out": 0, "questions": 0, "unverified": 36}
    assert {system["n"] for system in document["systems"]} == {6}


def test_rows_that_contradict_their_question_need_no_version_to_be_left_out(stage, model):
    aged(stage)
    cuts = make_recordings(stage, (2.0, 1.5))
    cuts[0].custom["questions"][0]["answer"] = 3
    cuts[1].custom["questions"][2]["choices"] += ["four"]
    dump = make_dump(stage, cuts, model)
    count = count_rows(dump, stage / "exp", stage / "decode.yaml")
    assert count.left.questions == {"test-0000-q0", "test-0001-q2"}
    assert count.left.keys == 3 * 2 + 4 + 3
    assert run(dump, stage / "exp", config(stage), model)[0].done == 3 * 2 + 4 + 4


def test_without_anything_to_go_by_a_mixture_is_named(stage, caplog):
    (stage / "exp" / "expected.json").unlink()
    path = stage / "exp" / "rap_0.2" / "hyp.1.jsonl"
    lines = rows(path)
    lines[0]["version"] = "0" * 16
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    write_results(stage / "exp", "score")
    assert "test-0000-q0: version: 2 different ones, expected one version in all systems" in caplog.text


def test_a_version_is_text_choices_answer_and_spans():
    version = version_of(QUESTION)
    same = [
        {"id": "b-q7", "difficulty": 3},
        {"evidence": [{"start": 1.0, "duration": 2.0, "text": "Ben did."}]},
        {"distractors": None},
    ]
    for change in same:
        assert version_of(QUESTION | change) == version
    other = [
        {"question": "Who? "},
        {"choices": ["Ben", "Anna"]},
        {"choices": ["Anna", "Ben", "Cleo"]},
        {"answer": 0},
        {"evidence": None},
        {"evidence": [{"start": 1, "duration": 2.5}]},
        {"distractors": [{"start": 5, "duration": 1}]},
    ]
    assert len({version, *(version_of(QUESTION | change) for change in other)}) == 1 + len(other)


@PATIENT
@given(st.dictionaries(st.sampled_from(["question", "choices", "answer", "evidence", "distractors"]), JSON))
def test_questions_of_any_shape_have_a_version(question):
    known = Question.of("a", {"id": "a-q0", **question}, None)
    assert known.verdict({"id": "a-q0", "version": version_of(question)}) is Verdict.CURRENT
    assert len({*known.keys(True)}) == known.rotations >= 1


def test_the_best_version_of_a_row_is_taken(tmp_path):
    question = Question.of("a", QUESTION, "now")
    row = {"id": "a-q0", "system": "full", "rate": None, "model": "m", "answer": "B", "choice_logprobs": None}
    row |= {"tokens": 3, "evidence_recall": None, "error": None}
    given_rows = [
        row | {"prediction": "C", "version": "other"},
        row | {"prediction": "D"},
        row | {"prediction": "E", "version": question.version, "audio_hash": "before"},
        row | {"prediction": "A", "version": question.version, "audio_hash": "now"},
    ]
    for order in (given_rows, given_rows[::-1]):
        (tmp_path / "hyp.1.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in order))
        found = read_hypotheses(tmp_path, [], {"a-q0": question})
        assert [row["prediction"] for row in found.rows] == ["A"]
        assert not found.left
        assert found.unverified == 0
