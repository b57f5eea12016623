"""report.html of mode cloze: probabilities and verdicts are those of the metric that the tables are by."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.hypotheses import write_rows
from helpers.pages import make_cuts, row

from speechprune.data.cuts import write_cuts
from speechprune.report.page.explorer import explore
from speechprune.report.page.write import write_page
from speechprune.report.scores import read_scores
from speechprune.scoring.cloze import compared
from speechprune.scoring.stage import write_results
from speechprune.scoring.titles import ways_of

WITH, WITHOUT, TOKENS = [-2.0, -6.0, -7.0, -8.0], [-2.5, -9.0, -7.0, -9.0], [1, 4, 2, 2]


@pytest.fixture
def experiment(tmp_path):
    """Full by letters, then Full and no audio by cloze."""
    (cut,) = make_cuts(tmp_path, 1)
    asked = {"mode": "cloze", "choice_tokens": TOKENS}
    nothing = {"choice_logprobs": WITHOUT, "tokens": 0, "kept": None, "evidence_recall": None}
    rows = [row(cut, k, "full") for k in range(2)]
    rows += [row(cut, k, "full", choice_logprobs=WITH, **asked) for k in range(2)]
    rows += [row(cut, k, "no_audio", **nothing, **asked) for k in range(2)]
    write_rows(exp := tmp_path / "exp" / "mini" / "test", rows)
    config = {"name": "no_audio", "rate": None, "audio": "none", "mode": "cloze"}
    (exp / "no_audio_cloze/config.json").write_text(json.dumps(config))
    write_cuts(cuts := tmp_path / "cuts.jsonl", [cut])
    write_results(exp, "x", cuts=cuts)
    return exp, cuts, rows


@pytest.mark.parametrize("metric", ["pmi", "mean"])
def test_probabilities_are_by_the_metric(experiment, metric):
    exp, cuts, rows = experiment
    write_results(exp, "x", cuts=cuts, metric=metric)
    rows = compared(rows, ways_of(read_scores(exp / "score.json")))
    data = explore(rows, cuts, 1, {}).data
    assert [s["title"] for s in data["systems"]] == ["Full", "Full, cloze", "no_audio, cloze"]
    assert [s["label"] for s in data["systems"]] == ["full", "full_cloze", "no_audio_cloze"]
    (letters,), (full,), (nothing,) = data["questions"][1]["answers"]  # whose answer is the second choice
    values = {"pmi": np.subtract(WITH, WITHOUT), "mean": np.divide(WITH, TOKENS)}
    mean = np.exp(np.divide(WITHOUT, TOKENS))
    share = np.exp(values[metric]) / np.exp(values[metric]).sum()
    assert full["p"] == pytest.approx(share, abs=1e-4) and full["prediction"] == 1
    assert nothing["p"] == pytest.approx(mean / mean.sum(), abs=1e-4)
    assert letters["prediction"] == 0


def test_the_page_names_the_metric(experiment):
    exp, cuts, _ = experiment
    html = write_page(exp, cuts).read_text()
    assert "<h2>Results, letters</h2>" in html and "<h2>Results, cloze (PMI)</h2>" in html
    assert "Seconds heard" not in html  # rows without a duration
