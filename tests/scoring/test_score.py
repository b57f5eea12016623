"""Stage 4: statistics against published and hand-computed values, merging, accounting, broken input."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from helpers.hypotheses import error_row, row, write_rows

from speechprune.common.intervals import wilson
from speechprune.scoring import tally
from speechprune.scoring.comparison import HardScore, SystemScore, score
from speechprune.scoring.stage import write_results


def by_name(systems: list[SystemScore]) -> dict[tuple[str, float | None], SystemScore]:
    return {(system.system, system.rate): system for system in systems}


# Newcombe (1998), "Two-sided confidence intervals for the single proportion", Table I, method 3 (Wilson's score).
@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(correct, n, low, high):
    assert wilson(correct, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("correct", "n"), [(0, 1), (1, 1), (5, 8), (287, 320), (320, 320)])
def test_wilson_equals_its_closed_form(correct, n):
    z = 1.959963984540054  # the 97.5 % point of the normal distribution
    p = correct / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert wilson(correct, n) == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_wilson_refuses_no_rows():
    with pytest.raises(ValueError, match="n = 0"):
        wilson(0, 0)


def test_accuracy_counts_unparsed_as_wrong_and_leaves_errors_out():
    rows = [row(i, "full") for i in range(5)]  # right
    rows += [row(5, "full", prediction="B"), row(6, "full", prediction=None, choice_logprobs=None)]  # wrong, unparsed
    rows += [error_row(7, "full"), error_row(8, "full"), error_row(9, "full")]
    (system,) = score(rows)
    assert (system.n, system.unparsed, system.errors) == (7, 1, 3)
    assert system.accuracy == round(5 / 7, 6)
    assert system.ci95 == tuple(round(x, 6) for x in wilson(5, 7))
    assert system.hard == HardScore(0, None)  # Original was not decoded


def test_a_system_with_nothing_but_errors_has_no_accuracy():
    (system,) = score([error_row(i, "full") for i in range(3)])
    assert (system.n, system.errors, system.accuracy, system.ci95) == (0, 3, None, None)
    assert (system.tokens, system.evidence_recall) == (None, None)


def test_hard_is_what_original_answered_wrongly():
    # Original: right, wrong, wrong, unparsed (so not right), error (so unknown).
    rows = [row(0, "original"), row(1, "original", prediction="B"), row(2, "original", prediction="C")]
    rows += [row(3, "original", prediction=None), error_row(4, "original")]
    # RAP on the hard questions 1, 2, 3: right, wrong, error.
    rows += [row(0, "rap", 0.4), row(1, "rap", 0.4), row(2, "rap", 0.4, "D"), error_row(3, "rap", 0.4)]
    rows += [row(4, "rap", 0.4)]
    systems = by_name(score(rows))
    assert systems["original", None].hard == HardScore(3, 0.0)
    assert systems["rap", 0.4].hard == HardScore(2, 0.5)
    assert systems["rap", 0.4].accuracy == 0.75


def test_means_of_tokens_and_evidence_recall_skip_what_is_not_known():
    rows = [row(0, "rap", 0.4, tokens=450, evidence_recall=0.25), row(1, "rap", 0.4, tokens=449, evidence_recall=None)]
    rows += [row(2, "rap", 0.4, tokens=449, evidence_recall=1.0), error_row(3, "rap", 0.4)]
    (system,) = score(rows)
    assert system.tokens == 449.3  # 1348 / 3 = 449.33
    assert system.evidence_recall == 0.625
    (whole,) = score([row(0, "rap", 0.4, tokens=450), row(1, "rap", 0.4, tokens=450)])
    assert whole.tokens == 450
    assert isinstance(whole.tokens, int)


def test_table_order_is_methods_then_other_pruners_then_controls(monkeypatch):
    monkeypatch.setattr(tally, "_controls", lambda names: names & {"silence", "a_control"})
    mixed = ["silence", "speechprune", "rap", "zeta", "full", "phase2", "alpha", "original", "rac", "phase1"]
    rows = [row(0, name, 0.4) for name in mixed] + [row(0, "rap", 0.8), row(0, "rap", 0.2), row(0, "a_control")]
    order = [(system.system, system.rate) for system in score(rows)]
    assert [name for name, _ in order if name != "rap"] == [
        *("original", "full", "rac", "phase1", "phase2", "speechprune", "alpha", "zeta", "a_control", "silence"),
    ]
    assert [item for item in order if item[0] == "rap"] == [("rap", 0.2), ("rap", 0.4), ("rap", 0.8)]


def test_a_control_is_a_name_that_is_no_pruner():
    assert tally._controls({"original", "full", "speechprune", "silence"}) == {"silence"}


def test_missing_questions_are_counted_per_system():
    rows = [row(i, "full") for i in range(4)] + [row(0, "rap", 0.4), error_row(1, "rap", 0.4)]
    assert tally.missing_questions(rows) == {"rap_0.4": 2}  # an error row is a row


def test_constant_letter_counts_each_question_once():
    rows = [row(0, "full"), row(1, "full", answer="C"), row(2, "full", answer="C")]
    rows += [row(0, "rap", rate / 10) for rate in range(1, 9)]  # question 0, answer A, many times
    assert tally.constant_letter(rows) == {"letter": "C", "accuracy": round(2 / 3, 6)}
    assert tally.constant_letter([row(0, "full", answer="D"), row(1, "full", answer="B")])["letter"] == "B"


def test_chance_is_the_mean_over_questions_of_one_over_the_choices():
    rows = [row(0, "full"), row(1, "full", choice_logprobs=[-1.0, -1.0]), error_row(2, "full")]
    assert tally.chance(rows, {}) == 0.375
    assert tally.chance([error_row(2, "full")], {}) is None


def test_the_cuts_tell_the_choices_of_generated_replies():
    rows = [row(0, "full"), row(1, "full", choice_logprobs=None, reply="B"), error_row(2, "full")]
    assert tally.chance(rows, {"test-0000-q0": 3, "test-0001-q0": 2}) == 0.375  # rows first


def test_systems_that_failed_or_cannot_be_read_are_warned_of(tmp_path, caplog):
    rows = [error_row(i, "original", error="no space") for i in range(3)]
    rows += [row(i, "full") for i in range(8)] + [error_row(i, "full") for i in (8, 9)]
    rows += [row(i, "rap", 0.4) for i in range(9)] + [error_row(9, "rap", 0.4)]  # 10 % is not much
    rows += [row(i, "rac", 0.4, None if i < 3 else "A", reply="hm") for i in range(5)]
    rows += [row(i, "speechprune", 0.4, None if i < 2 else "A", reply="hm") for i in range(4)]
    write_rows(tmp_path, rows)
    write_results(tmp_path, "speechprune score x")
    assert caplog.messages == [
        "original: 3 of 3 questions have errors, the first: test-0000-q0: no space",
        "full: 2 of 10 questions have errors, the first: test-0008-q0: no audio",
        "rac_0.4: 3 of 5 replies name no choice; look at 'reply' in rac_0.4/hyp.*.jsonl, or use mode: logprob",
    ]


def test_a_system_without_one_whole_question_is_warned_of(tmp_path, caplog):
    write_rows(tmp_path, [row(0, "full", rotation=r) for r in range(3)])  # of 4
    write_results(tmp_path, "speechprune score x")
    assert caplog.messages == ["full: all of its 1 questions lack rotations; run stage 3 again"]


def study(folder: Path) -> None:
    rows = [row(i, "original", None, "A" if i < 2 else "B", tokens=750, evidence_recall=0.4) for i in range(4)]
    rows += [row(i, "rap", 0.4, "A" if i != 2 else None) for i in range(3)] + [error_row(3, "rap", 0.4)]
    write_rows(folder, rows)


def test_score_json_has_the_agreed_form(tmp_path):
    study(tmp_path / "test")
    systems = write_results(tmp_path / "test", "speechprune score exp/mini/test")
    document = json.loads((tmp_path / "test/score.json").read_text())
    assert [system.system for system in systems] == ["original", "rap"]
    common = {"system": "original", "rate": None, "tokens": 750, "evidence_recall": 0.4, "unparsed": 0, "errors": 0}
    original = common | {"n": 4, "accuracy": 0.5, "hard": {"n": 2, "accuracy": 0.0}}
    common = {"system": "rap", "rate": 0.4, "tokens": 450, "evidence_recall": 0.5, "unparsed": 1, "errors": 1}
    rap = common | {"n": 3, "accuracy": 0.666667, "hard": {"n": 1, "accuracy": 0.0}}
    original["ci95"] = [round(bound, 6) for bound in wilson(2, 4)]
    rap["ci95"] = [round(bound, 6) for bound in wilson(2, 3)]
    common = {"ci95_recording": None, "evidence_precision": None, "rotations": None, "seconds": None, "unpruned": 0}
    original |= common | {"balanced_accuracy": 0.5, "letters": {"A": 0.5, "B": 0.5}, "against": None}
    original["hard_ci95"] = [round(bound, 6) for bound in wilson(0, 2)]
    test = {"system": "original", "n": 3, "better": 0, "worse": 0, "p": 1.0, "p_holm": 1.0}
    rap |= common | {"balanced_accuracy": 0.666667, "letters": {"A": 1.0}, "against": test}
    rap["hard_ci95"] = [round(bound, 6) for bound in wilson(0, 1)]
    every = [round(bound, 6) for bound in wilson(4, 4)]
    none = [round(bound, 6) for bound in wilson(0, 4)]
    assert document == {
        "systems": [original, rap],
        "titles": {"original": "Original", "rap": "RAP"},
        "mode": "letters",
        "model": "mini",
        "corpus": None,
        "set": "test",
        "command": "speechprune score exp/mini/test",
        "questions": 4,
        "recordings": 4,
        "expected": None,
        "cascades": [],
        "chance": 0.25,
        "constant_letter": {"letter": "A", "accuracy": 1.0},
        "missing": {},
        "unusable_lines": 0,
        "versions": {"left_out": 0, "questions": 0, "unverified": 0},
        "resynthesised": [],
        "benchmark": [
            {"name": 'Constant letter "A"', "n": 4, "accuracy": 1.0, "ci95": every},
            *({"name": f'Constant letter "{x}"', "n": 4, "accuracy": 0.0, "ci95": none} for x in "BCD"),
        ],
        "letter_prior": [],
        "by_position": [],
        "by_duration": [],
    }
    assert next(iter(document)) == "systems"


def test_score_csv_has_one_line_a_system(tmp_path):
    study(tmp_path)
    write_results(tmp_path, "speechprune score x")
    with (tmp_path / "score.csv").open(newline="") as handle:
        first, second = csv.DictReader(handle)
    assert (first["system"], first["rate"], first["hard_n"], first["hard_accuracy"]) == ("original", "", "2", "0.0")
    assert (second["rate"], second["accuracy"], second["errors"]) == ("0.4", "0.666667", "1")
    assert float(second["ci95_low"]) == round(wilson(2, 3)[0], 6)


def test_results_do_not_depend_on_shards_or_the_order_of_rows(tmp_path):
    names = ("score.json", "score.csv", "table1.csv", "table1.tex", "RESULTS.md")
    rows = [
        row(i, s, r, "AB"[i % 3 % 2], evidence_recall=i / 7)
        for i in range(7)
        for s, r in [("full", None), ("rac", 0.6)]
    ]
    write_rows(tmp_path / "a/test", rows)
    for i, item in enumerate(reversed(rows)):
        write_rows(tmp_path / "b/test", [item], f"hyp.{i % 3}.jsonl")
    for folder in "ab":
        write_results(tmp_path / folder / "test", "speechprune score test")
    written = [[(tmp_path / folder / "test" / name).read_bytes() for name in names] for folder in "ab"]
    assert written[0] == written[1]
    write_results(tmp_path / "a/test", "speechprune score test")  # its own files are not read as hypotheses
    assert [(tmp_path / "a/test" / name).read_bytes() for name in names] == written[0]
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_broken_line_is_counted_named_and_does_not_stop_the_scores(tmp_path, caplog):
    study(tmp_path)
    with (tmp_path / "rap_0.4/hyp.1.jsonl").open("a") as handle:
        handle.write('{"id": "test-0009-q0", "sys\n')
    systems = by_name(write_results(tmp_path, "speechprune score x"))
    assert systems["rap", 0.4].n == 3
    assert json.loads((tmp_path / "score.json").read_text())["unusable_lines"] == 1
    page = (tmp_path / "RESULTS.md").read_text()
    assert "## Problems in the hypothesis files (1)" in page
    assert "rap_0.4/hyp.1.jsonl:5" in page
    assert "hyp.1.jsonl:5" in caplog.text


def test_a_question_whose_answer_changed_between_runs_is_reported(tmp_path):
    write_rows(tmp_path, [row(0, "full"), row(1, "full"), row(0, "rap", 0.4, answer="B")])
    write_results(tmp_path, "speechprune score x")
    assert "test-0000-q0: answer: A, B" in (tmp_path / "RESULTS.md").read_text()


@pytest.mark.parametrize("made", [True, False])
def test_no_rows_is_an_error_that_names_folder_and_stage(tmp_path, made):
    folder = tmp_path / "exp/mini/test"
    if made:
        folder.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"exp/mini/test: no hypotheses .*stage 3"):
        write_results(folder, "speechprune score x")
    assert not (folder / "score.json").exists()


def test_no_usable_rows_names_the_first_problem(tmp_path):
    write_rows(tmp_path, [row(0, "full", rate=7)])
    with pytest.raises(ValueError, match=r"1 unusable lines.*hyp\.1\.jsonl:1: rate: 7"):
        write_results(tmp_path, "speechprune score x")


def test_two_models_or_two_sets_are_never_pooled(tmp_path):
    write_rows(tmp_path / "mini/test", [row(0, "full")])
    write_rows(tmp_path / "mini/dev", [row(1, "full")])
    write_rows(tmp_path / "other/test", [row(0, "full", model="other")])
    with pytest.raises(ValueError, match=r"2 sets \(.*dev, .*test\)"):
        write_results(tmp_path / "mini", "speechprune score x")
    with pytest.raises(ValueError, match=r"2 models \(mini, other\)"):
        write_results(tmp_path, "speechprune score x")
