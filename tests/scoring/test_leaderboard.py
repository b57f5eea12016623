"""Many systems ranked at each budget: order, paired tests, what a first pass costs, the page and its figure."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.hypotheses import row, write_rows
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from speechprune.cli import main
from speechprune.report.small_multiples import selection_figure, zoo_figure
from speechprune.scoring.leaderboard import rank, ranking_page

RIGHT = {  # of 30 questions, at rates 0.2 and 0.8: how many from the first are right
    "speechprune": (20, 10),
    "late_interaction": (28, 25),
    "uniform": (20, 10),
    "fastv": (25, 9),
}


def systems() -> list[dict]:
    rows = [row(k, "full", None, prediction="A" if k < 29 else "B", answer="A") for k in range(30)]
    for name, counts in RIGHT.items():
        for rate, right in zip((0.2, 0.8), counts, strict=True):
            for k in range(30):
                more = {"layer_tokens": [600, 600, 60, 60]} if name == "fastv" else {}
                rows.append(row(k, name, rate, prediction="A" if k < right else "B", answer="A") | more)
    return rows


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    write_rows(tmp_path / "mini" / "test", systems())
    return tmp_path / "mini" / "test"


def test_ranked_at_each_budget(exp) -> None:
    found = rank(exp, "speechprune", [])
    order = [(entry.rate, entry.system) for entry in found]
    assert order == [
        (None, "full"),
        (0.2, "late_interaction"),
        (0.2, "fastv"),
        (0.2, "speechprune"),
        (0.2, "uniform"),
        (0.8, "late_interaction"),
        (0.8, "speechprune"),
        (0.8, "uniform"),
        (0.8, "fastv"),
    ]
    by = {(entry.system, entry.rate): entry for entry in found}
    assert by["fastv", 0.8].llm_tokens == 330
    assert by["full", None].p is by["speechprune", 0.2].p is None
    assert (by["late_interaction", 0.8].better, by["late_interaction", 0.8].worse) == (15, 0)
    assert (by["fastv", 0.8].better, by["fastv", 0.8].worse) == (0, 1)
    for rate, place in ((0.2, 0), (0.8, 1)):
        others = ("fastv", "late_interaction", "uniform")
        changes = [RIGHT[name][place] - RIGHT["speechprune"][place] for name in others]
        p = [mcnemar([[0, max(c, 0)], [max(-c, 0), 0]], exact=True).pvalue for c in changes]
        assert [by[name, rate].p for name in others] == pytest.approx(p)
        assert [by[name, rate].p_holm for name in others] == pytest.approx(multipletests(p, method="holm")[1])


def test_against_must_be_there(exp) -> None:
    with pytest.raises(ValueError, match="no system 'cdpruner' to compare with; choose from: full, speechprune, fastv"):
        rank(exp, "cdpruner", [])


def test_rows_of_several_models_or_sets_are_no_ranking(tmp_path) -> None:
    mine = [row(k, "rap", 0.2) for k in range(4)]
    write_rows(tmp_path / "models" / "test", [*mine, *(one | {"model": "other"} for one in mine)])
    with pytest.raises(ValueError, match=r"hypotheses of 2 models \(mini, other\)"):
        rank(tmp_path / "models" / "test", "rap", [])
    for name, corpus in (("dev", "spiral"), ("test", "dream_tts")):
        rows = [one | {"id": f"{name}-{one['id']}", "corpus": corpus} for one in mine]
        write_rows(tmp_path / "sets" / name, rows)
        write_rows(tmp_path / "corpora" / "test", rows)
    with pytest.raises(ValueError, match=r"2 sets \(.*dev, .*test\)"):
        rank(tmp_path / "sets", "rap", [])
    with pytest.raises(ValueError, match=r"2 corpora \(dream_tts, spiral\)"):
        rank(tmp_path / "corpora" / "test", "rap", [])


def test_the_page_and_its_figure(exp, tmp_path) -> None:
    out = tmp_path / "ZOO.md"
    words = ["rank", str(exp), "--out", str(out), "--made-by", "speechprune decode dump exp --config zoo.yaml"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    page = out.read_text(encoding="utf-8")
    assert page.startswith("# The zoo\n")
    assert "speechprune decode dump exp --config zoo.yaml\n" in page
    assert "![zoo](figures/zoo.png)" in page and (tmp_path / "figures" / "zoo.png").stat().st_size > 10_000
    section = page.split("## Rate 0.8")[1]
    (best,) = re.findall(r"\| Late interaction \| 1 \| 83.33 \|.*", section)
    assert best.endswith("| 15 | 0 | &lt; 0.0001 | 0.0002 |")
    as_json = json.loads(CliRunner().invoke(main, ["rank", str(exp), "--json"]).stdout)
    assert [entry["system"] for entry in as_json][:2] == ["full", "late_interaction"]


def test_a_panel_for_each_method(exp) -> None:
    ranked = rank(exp, "speechprune", [])
    panels = [axes for axes in zoo_figure(ranked, "speechprune").axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["Late interaction", "FastV", "SpeechPrune", "Uniform"]
    assert "## Without a rate" in ranking_page(ranked, "speechprune", [], [])
    with pytest.raises(ValueError, match="no method with a rate"):
        zoo_figure(ranked[:1], "speechprune")


def test_pruners_are_listed() -> None:
    listed = CliRunner().invoke(main, ["pruners"])
    assert listed.exit_code == 0 and "late_interaction" in listed.output and "arXiv 2306.16009" in listed.output
    found = {entry["name"]: entry for entry in json.loads(CliRunner().invoke(main, ["pruners", "--json"]).stdout)}
    assert found["sa_map"]["needs"] == ["encoder_attention"] and found["sa_map"]["merges"]
    assert found["fastv"]["needs"] == ["query", "first_pass"] and not found["fastv"]["merges"]
    assert found["chain"]["needs"] == ["what its parts need"]
    assert all(entry["line"] and entry["title"] for entry in found.values())


def test_time_against_length() -> None:
    times = {750: {"median_seconds": 0.001}, 90_000: {"median_seconds": 0.2}}
    rows = [
        {"name": "speechprune", "title": "SpeechPrune", "times": times},
        {"name": "divprune", "title": "DivPrune", "times": {750: {"median_seconds": 0.03}, 90_000: "too long"}},
        {"name": "fastv", "title": "FastV", "times": {750: "a first pass", 90_000: "a first pass"}},
    ]
    panels = [axes for axes in selection_figure({"rows": rows}, "speechprune").axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["DivPrune", "SpeechPrune"]
    assert panels[0].get_xscale() == panels[0].get_yscale() == "log"
    assert [line.get_xydata().tolist() for line in panels[0].lines][-1] == [[750, 30]]
    panels[0].figure.canvas.draw()
    drawn = {label.get_text() for axis in (panels[0].xaxis, panels[0].yaxis) for label in axis.get_ticklabels()}
    assert {"1,000", "100", "10"} <= drawn
    assert not any("$" in text for text in drawn)
