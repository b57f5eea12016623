"""Mode cloze in stage 4: every metric against a slow reference, and never beside letters in one table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.hypotheses import cloze_row, error_row, row, write_rows
from statsmodels.stats.contingency_tables import mcnemar

from speechprune.cli import main
from speechprune.decoding.hypotheses import read_hypotheses
from speechprune.decoding.rows import row_problem
from speechprune.report.figures import accuracy_figure
from speechprune.report.page.write import write_page
from speechprune.report.scores import read_scores
from speechprune.scoring.cloze import METRICS, Metric, by_metric, cloze_scores
from speechprune.scoring.leaderboard import rank
from speechprune.scoring.stage import write_comparison, write_results

SYSTEMS = (("original", None), ("speechprune", 0.2), ("rap", 0.2), ("no_audio", None))
QUESTIONS = 24
ANSWERS = np.random.default_rng(2).integers(4, size=QUESTIONS)


def cloze_rows(seed: int = 1) -> list[dict]:
    """Choices of 1 to 9 tokens: sums prefer short ones, and audio adds to the right one."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 10, (QUESTIONS, 4))
    prior = -counts * rng.uniform(1, 4, counts.shape)
    gains = {"original": 0.5, "speechprune": 3.0, "rap": 2.0, "no_audio": 0.0}
    rows = []
    for system, rate in SYSTEMS:
        for k in range(QUESTIONS):
            heard = prior[k] + (rng.normal(0, 1, 4) if system != "no_audio" else 0)
            heard[ANSWERS[k]] += gains[system]
            more = {"tokens": 0, "evidence_recall": None} if system == "no_audio" else {}
            about = {"answer": "ABCD"[ANSWERS[k]], "recording": f"test-{k // 2:04d}"}
            rows.append(cloze_row(k, system, rate, np.round(heard, 6).tolist(), counts[k].tolist(), **about, **more))
    return rows


def write_experiment(folder: Path, rows: list[dict]) -> Path:
    """With what stage 3 writes beside the rows."""
    write_rows(folder, rows)
    for found in {(r["system"], r["rate"], r.get("mode")) for r in rows}:
        system, rate, mode = found
        name = (system if rate is None else f"{system}_{rate:g}") + ("_cloze" if mode else "")
        config = {"name": system, "rate": rate, "audio": "none" if system == "no_audio" else "recording"}
        (folder / name / "config.json").write_text(json.dumps(config | ({"mode": mode} if mode else {})))
    return folder


def slow(rows: list[dict], metric: str) -> dict[tuple[str, float | None], list[bool]]:
    """{system: whether each question is right}, one question after the other."""
    level = {r["id"]: r["choice_logprobs"] for r in rows if r["system"] == "no_audio"}
    found: dict[tuple, list[bool]] = {}
    for r in rows:
        values = []
        for c, value in enumerate(r["choice_logprobs"]):
            if metric.startswith("pmi"):
                value -= level[r["id"]][c]
            if metric in ("mean", "pmi-mean"):
                value /= r["choice_tokens"][c]
            values.append(value)
        found.setdefault((r["system"], r["rate"]), []).append("ABCD"[int(np.argmax(values))] == r["answer"])
    return found


def test_every_metric_equals_the_slow_reference():
    rows = cloze_rows()
    scores = {(score.system, score.rate): score.metrics for score in cloze_scores(rows, "no_audio")}
    accuracies = set()
    for name in METRICS:
        for key, right in slow(rows, name).items():
            if key[0] == "no_audio" and name.startswith("pmi"):
                assert scores[key][name] is None
                continue
            assert scores[key][name].n == QUESTIONS
            assert scores[key][name].accuracy == pytest.approx(np.mean(right), abs=1e-6)
            accuracies.add((key, round(np.mean(right), 3)))
    assert len(accuracies) > 6  # the metrics differ here
    assert [s.metrics["pmi"] for s in cloze_scores(rows, None)] == [None] * 4


@pytest.mark.parametrize("metric", [None, "sum", "pmi-mean"])
def test_tests_hard_subset_and_breakdowns_go_by_the_metric(tmp_path, metric):
    rows = cloze_rows()
    systems = write_results(write_experiment(tmp_path / "test", rows), "x", against="rap_0.2", metric=metric)
    document = json.loads((tmp_path / "test/score.json").read_text())
    assert document["mode"] == "cloze"
    assert document["cloze"]["metric"] == (metric or "pmi")
    right = slow(rows, metric or "pmi")
    right["no_audio", None] = slow(rows, metric if metric in ("sum", "mean") else "mean")["no_audio", None]
    wrong = ~np.array(right["original", None])
    for system in systems:
        mine = np.array(right[system.system, system.rate])
        assert (system.n, system.accuracy) == (QUESTIONS, pytest.approx(mine.mean(), abs=1e-6))
        assert system.hard.accuracy == pytest.approx(mine[wrong].mean(), abs=1e-6)
        assert system.ci95[0] < system.accuracy < system.ci95[1]
        if system.system != "rap":
            theirs = np.array(right["rap", 0.2])
            better, worse = int((mine & ~theirs).sum()), int((~mine & theirs).sum())
            assert (system.against.better, system.against.worse) == (better, worse)
            p = mcnemar([[0, better], [worse, 0]], exact=True).pvalue
            assert system.against.p == pytest.approx(p, rel=1e-3)
    pruned = next(system for system in systems if system.system == "speechprune")
    assert pruned.evidence_recall == 0.5
    assert pruned.ci95_recording is not None
    page = (tmp_path / "test/RESULTS.md").read_text()
    shown = METRICS[metric or "pmi"]
    assert page.startswith(f"# Results: test, mini, cloze ({shown})\n")
    assert "Constant letter" not in page and "preference for letters" not in page
    assert ("no_audio (by mean)" in page.replace("\\", "")) == (metric not in ("sum", "mean"))
    assert "no audio: the question alone" in page
    assert f"## Ways to compare the choices, cloze ({shown})\n" in page
    with (tmp_path / "test/score.csv").open(newline="") as file:
        assert {line["mode"] for line in csv.DictReader(file)} == {f"cloze-{metric or 'pmi'}"}


def test_without_a_baseline_the_mean_counts(tmp_path):
    rows = [r for r in cloze_rows() if r["system"] != "no_audio"]
    folder = write_experiment(tmp_path / "test", rows)
    systems = write_results(folder, "x")
    right = slow(rows, "mean")
    assert [s.accuracy for s in systems] == pytest.approx([np.mean(right[s.system, s.rate]) for s in systems], abs=1e-6)
    page = (folder / "RESULTS.md").read_text()
    assert "| System | PR | Sum | Mean |\n" in page
    assert "PMI needs a system that answers without audio: decode `{name: no_audio, method: full, audio: none}`" in page
    with pytest.raises(ValueError, match=r"test: metric pmi: no system has answered without audio; decode one"):
        write_results(folder, "x", metric="pmi")


def test_a_question_without_a_baseline_is_an_error():
    rows = [r for r in cloze_rows() if (r["system"], r["id"]) != ("no_audio", "test-0003-q0")]
    found = by_metric(rows, Metric("pmi", "no_audio"))
    failed = [r for r in found if r["error"] is not None]
    assert {r["id"] for r in failed} == {"test-0003-q0"} and len(failed) == 3
    assert failed[0]["error"] == "no_audio, the baseline of pmi, has no answer to the question"
    assert failed[0]["prediction"] is None
    assert not any(r["error"] for r in by_metric(rows, Metric("mean", "no_audio")))
    other = [r | {"choice_tokens": [9, 9, 9, 9]} if r["system"] == "no_audio" else r for r in cloze_rows()]
    assert "has other tokens of its choices" in by_metric(other, Metric("pmi", "no_audio"))[0]["error"]


def test_letters_and_cloze_have_tables_of_their_own(tmp_path):
    letters = [row(k, system, rate, "AB"[k % 2]) for system, rate in SYSTEMS[:3] for k in range(QUESTIONS)]
    folder = write_experiment(tmp_path / "test", [*letters, *cloze_rows(), error_row(99, "rap", 0.2)])
    assert len(read_hypotheses(folder, []).rows) == 7 * QUESTIONS + 1  # one system's rows of two ways are two
    systems = write_results(folder, "x")
    assert [s.accuracy for s in systems] == [0.5, 0.5, 0.5]
    document = read_scores(folder / "score.json")
    (cloze,) = document["others"]
    assert (document["mode"], cloze["mode"], cloze["cloze"]["metric"]) == ("letters", "cloze", "pmi")
    assert [len(part["systems"]) for part in (document, cloze)] == [3, 4]
    page = (folder / "RESULTS.md").read_text()
    assert page.startswith("# Results: test, mini, letters\n")
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert "## Results, cloze (PMI)" in headings and "## Balanced accuracy, and against Original, letters" in headings
    assert sum("Errors (1 rows)" in line for line in headings) == 1
    assert {path.name for path in folder.glob("*.csv")} == {
        *("score.csv", "table1.csv", "score.cloze-pmi.csv", "table1.cloze-pmi.csv"),
    }
    assert "cloze" not in (folder / "score.csv").read_text()
    html = write_page(folder).read_text()
    assert "Results, cloze (PMI)" in html and "Ways to compare the choices" in html
    found = [r.system for r in rank(folder, "rap", [], "cloze") if r.rate is not None]
    assert found == ["speechprune", "rap"]
    with pytest.raises(ValueError, match=r"rows that answer by letters and by cloze; say which to rank \(--by cloze\)"):
        rank(folder, "rap", [])


def test_ranking_goes_by_the_metric(tmp_path):
    rows = cloze_rows()
    folder = write_experiment(tmp_path / "test", rows)
    entries = {(e.system, e.rate): e for e in rank(folder, "rap", [], metric="pmi-mean")}
    for key, right in slow(rows, "pmi-mean").items():
        if key[0] != "no_audio":
            assert entries[key].accuracy == pytest.approx(np.mean(right), abs=1e-6)
    result = CliRunner().invoke(main, ["rank", str(folder), "--against", "rap"])
    assert result.stdout.startswith("# The zoo, cloze (PMI)\n") and "no_audio (by mean)" in result.stdout
    with pytest.raises(ValueError, match="metric sum: no row is of mode cloze"):
        rank(write_experiment(tmp_path / "b", [row(0, "rap", 0.2)]), "rap", [], metric="sum")


def test_several_folders_keep_them_apart(tmp_path):
    both = write_experiment(tmp_path / "a/test", [row(k, "original") for k in range(4)] + cloze_rows())
    other = [r | {"model": "other"} for r in cloze_rows(3) if r["system"] != "no_audio"]
    write_comparison([both, write_experiment(tmp_path / "b/test", other)], tmp_path / "out", "x")
    names = {path.name for path in (tmp_path / "out").glob("*.csv")}
    marks = ("", ".cloze-pmi", ".cloze-mean")
    assert names == {f"table{k}{mark}.csv" for k in (1, 2) for mark in marks}
    page = (tmp_path / "out/RESULTS.md").read_text()
    assert all(f"**test, {name}**" in page for name in ("letters", "cloze (PMI)", "cloze (mean)"))
    assert "**By cloze (PMI)**" in page
    table = (tmp_path / "out/table1.cloze-pmi.csv").read_text()
    assert "other" not in table and "constant letter" not in table


def test_figures_say_how_it_was_asked(tmp_path):
    folder = write_experiment(tmp_path / "test", cloze_rows())
    write_results(folder, "x")
    figure = accuracy_figure(read_scores(folder / "score.json"))
    assert figure.axes[0].get_ylabel() == "Accuracy (%), cloze (PMI), with 95 % interval"


def test_the_command(tmp_path):
    folder = write_experiment(tmp_path / "test", cloze_rows())
    result = CliRunner().invoke(main, ["score", str(folder), "--metric", "mean"])
    assert result.exit_code == 0, result.output
    assert f"speechprune score {folder} --metric mean" in (folder / "RESULTS.md").read_text()
    letters = write_experiment(tmp_path / "b", [row(0, "rap", 0.2)])
    assert (
        "metric mean: no row is of mode cloze"
        in CliRunner().invoke(main, ["score", str(letters), "--metric", "mean"]).output
    )


def test_a_row_has_a_count_for_each_choice():
    good = cloze_row(0, "full", None, [-1.0, -2.0], [1, 2])
    assert row_problem(good) is None
    for counts in ([1], None, []):
        assert row_problem(good | {"choice_tokens": counts}).field == "choice_tokens"
    assert row_problem(good | {"choice_tokens": None, "choice_logprobs": None, "error": "no"}) is None
