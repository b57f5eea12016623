"""Tables I and II in three forms, several folders, and the command."""

from __future__ import annotations

import csv
import io
import json

import pytest
from click.testing import CliRunner
from helpers.documents import document, system
from helpers.hypotheses import row, write_rows
from helpers.speech_configs import SEVEN_B

from speechprune.cli import main
from speechprune.report import curves
from speechprune.scoring import results, tables
from speechprune.scoring.blocks import Table

SETS = {"spiral": "test", "dream_tts": "test_60s"}  # as the recipes write them


def spiral(model: str = "mini", corpus: str | None = "spiral") -> dict:
    systems = [system("original", accuracy=0.4711, hard={"n": 40, "accuracy": 0.0}), system("rap", 0.4, 0.31)]
    systems += [system("speechprune", 0.2, 0.9), system("speechprune", 0.4, 0.81)]
    return document(*systems, model=model, corpus=corpus, set=SETS.get(corpus, "test"))


def cells(table: Table, name: str, *columns: str, rate: str = "-") -> list[str]:
    found = next(line for line in table.rows if name in line[:2] and rate in line[:3])
    return [found[table.header.index(column)] for column in columns]


def test_table_one_has_methods_by_rates_and_the_papers_column():
    table = tables.table_one(spiral())
    assert table.header == (
        *("System", "PR", "SPIRAL: n", "SPIRAL: %", "SPIRAL: 95 % CI", "SPIRAL: %, the paper's (Qwen2-Audio)"),
        *("SPIRAL, hard: n", "SPIRAL, hard: %", "SPIRAL, hard: 95 % CI"),
        "SPIRAL, hard: %, the paper's (Qwen2-Audio)",
    )
    assert table.rows[0] == ("Original", "-", "100", "47.11", "37.11 to 55.11", "60.38", "40", "0.00", "-", "0")
    assert table.rows[3][:6] == ("SpeechPrune", "0.4", "100", "81.00", "71.00 to 89.00", "85.97")
    assert table.rows[3][-1] == "76.43"
    assert table.rows[-1][:4] == ("Best constant letter", "-", "101", "29.70 (C)")


@pytest.mark.parametrize("corpus", [None, "mini_sir", "nobody", "../spiral"])
def test_the_papers_column_stands_at_the_papers_corpora_alone(corpus):
    assert not any("paper" in name for name in tables.table_one(spiral(corpus=corpus)).header)
    assert "paper" not in results.results_markdown(spiral(corpus=corpus), [], [])
    page = results.results_markdown(spiral(), [], [])
    assert "| 81.00 | 71.00 to 89.00 | 85.97 |" in page
    assert "printed in arXiv 2412.12009, on its own recordings, for the model in brackets; not measured here" in page


def test_several_corpora_stand_side_by_side():
    table = tables.table_one(spiral(), spiral(corpus="dream_tts") | {"systems": [system("original", accuracy=0.5)]})
    dream = "DREAM-TTS over 60 s"
    columns = "SPIRAL: %", f"{dream}: %", f"{dream}: %, the paper's (Qwen2-Audio)"
    assert cells(table, "Original", *columns) == ["47.11", "50.00", "53.69"]
    assert cells(table, "RAP", f"{dream}: n", f"{dream}: %", rate="0.4") == ["-", "-"]


def test_table_two_has_models_by_corpora():
    ours = [spiral("Qwen/Qwen2-Audio-7B-Instruct"), spiral("mini"), spiral("mini", "dream_tts")]
    table = tables.table_two(ours)
    columns = ("SPIRAL: %", "SPIRAL: %, the paper's", "DREAM-TTS over 60 s: %, the paper's")
    assert cells(table, "Qwen/Qwen2-Audio-7B-Instruct", *columns) == ["47.11", "60.38", "-"]
    assert cells(table, "Qwen/Qwen2-Audio-7B-Instruct", *columns, rate="0.2") == ["90.00", "89.23", "-"]
    assert cells(table, "mini", *columns, rate="0.4") == ["81.00", "-", "-"]
    assert cells(table, "DiVA (the paper)", *columns) == ["-", "48.62", "45.72"]
    assert cells(table, "DiVA (the paper)", *columns, rate="0.15") == ["-", "57.51", "53.10"]
    assert not any(line[0] == "Qwen2-Audio (the paper)" for line in table.rows)
    assert len(tables.table_two([spiral(corpus=None)]).header) == 6


def test_table_two_has_the_papers_models_that_nobody_ran():
    table = tables.table_two([spiral("mini"), spiral("mini", "dream_tts")])
    theirs = [line[:3] for line in table.rows if "(the paper)" in line[0]]
    assert theirs == [
        ("Qwen2-Audio (the paper)", "Original", "-"),
        ("Qwen2-Audio (the paper)", "SpeechPrune", "0.2"),  # the rate that both corpora have
        ("DiVA (the paper)", "Original", "-"),
        ("DiVA (the paper)", "SpeechPrune", "0.15"),
    ]


def test_csv_and_latex_hold_the_same_cells():
    table = Table(("System", "a % & b"), [("x_1", "50"), ('"<b>"\\', "#{2}~^$")])
    assert list(csv.reader(io.StringIO(table.csv()))) == [list(table.header), *map(list, table.rows)]
    assert table.latex().splitlines() == [
        r"\begin{tabular}{lr}",
        r"\hline",
        r"System & a \% \& b \\",
        r"\hline",
        r"x\_1 & 50 \\",
        r'"\textless{}b\textgreater{}"\textbackslash{} & \#\{2\}\textasciitilde{}\textasciicircum{}\$ \\',
        r"\hline",
        r"\end{tabular}",
    ]


def experiments(folder) -> None:
    for model, corpus, name in (("mini", "spiral", "test"), ("mini", "dream_tts", "test"), ("other", None, "test")):
        about = {"model": model} | ({"corpus": corpus} if corpus else {})
        rows = [row(i, "original", None, "AB"[i % 2], **about) for i in range(6)]
        rows += [row(i, "speechprune", 0.2, **about) for i in range(6)]
        write_rows(folder / f"{corpus}" / model / name, rows)


def score(*arguments: object) -> str:
    result = CliRunner().invoke(main, ["score", *map(str, arguments)])
    assert result.exit_code in (0, 1), result.output
    return result.output


def test_the_command_compares_folders_of_corpora_whose_sets_are_called_alike(tmp_path):
    experiments(tmp_path)
    folders = [tmp_path / name for name in ("spiral/mini/test", "dream_tts/mini/test", "None/other/test")]
    assert "3 folders, but no --out" in score(*folders)
    assert "--cuts x with 2 folders" in score(*folders[:2], "--cuts", "x", "--out", tmp_path / "out")
    message = "both are model mini on set test of spiral; give one of them"
    assert message in score(folders[0], folders[0], "--out", tmp_path / "out")
    message = "both are model other on set test, and their rows name no corpus, as those of earlier versions"
    assert message in score(folders[2], folders[2], "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    score(*folders, "--out", tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["RESULTS.md", "score.json", "table1.csv", "table1.tex", "table2.csv", "table2.tex"]
    page = (tmp_path / "out/RESULTS.md").read_text()
    assert f"speechprune score {tmp_path}/spiral/mini/test" in page
    assert "# Results: mini on SPIRAL; mini on dream\\_tts test; other on test\n" in page.replace("_", "\\_")
    assert "**SPIRAL**\n\n| System | PR | SPIRAL: n |" in page  # a Table I for each set
    assert "| SpeechPrune | 0.2 | 6 | 100.00 | 60.97 to 100.00 | 89.23 |" in page
    assert "Table II" in page
    found = json.loads((tmp_path / "out/score.json").read_text())["experiments"]
    keys = [(item["model"], item["corpus"], item["set"]) for item in found]
    assert keys == [("mini", "spiral", "test"), ("mini", "dream_tts", "test"), ("other", None, "test")]
    assert "mini,SpeechPrune,0.2,6,100.00" in (tmp_path / "out/table2.csv").read_text()


def test_rows_of_two_corpora_are_never_pooled(tmp_path):
    write_rows(tmp_path / "test", [row(0, "original", corpus="a"), row(1, "original", corpus="b")])
    assert "hypotheses of 2 corpora (a, b); score one at a time" in score(tmp_path / "test")


def test_rows_from_before_they_named_a_corpus_may_be_joined_by_newer_ones(tmp_path):
    write_rows(tmp_path / "test", [row(0, "original"), row(1, "original", corpus="spiral")])
    score(tmp_path / "test")
    assert json.loads((tmp_path / "test/score.json").read_text())["corpus"] == "spiral"


def test_the_command_takes_a_system_to_compare_with_and_a_place(tmp_path):
    experiments(tmp_path)
    score(tmp_path / "spiral/mini/test", "--against", "speechprune_0.2", "--out", tmp_path / "out")
    page = (tmp_path / "out/RESULTS.md").read_text()
    assert "## Balanced accuracy, and against SpeechPrune at 0.2\n" in page
    assert "--against speechprune_0.2" in page
    assert not (tmp_path / "spiral/mini/test/RESULTS.md").exists()
    assert "no system 'x' to compare with; choose from: original, speechprune_0.2" in score(
        tmp_path / "spiral/mini/test", "--against", "x"
    )
    text = CliRunner().invoke(main, ["score", "--help"]).output
    assert all(option in text for option in ("--cuts", "--against", "--model", "--out"))
    assert "--permute" in CliRunner().invoke(main, ["decode", "--help"]).output


def test_what_a_prefill_costs_stands_beside_the_scores(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text(json.dumps(SEVEN_B))
    tokens = {("original", None): 750, ("speechprune", 0.2): 600, ("full", None): 2250, ("silence", None): 750}
    for (name, rate), count in tokens.items():
        write_rows(tmp_path / "mini/test", [row(k, name, rate, tokens=count) for k in range(2)])
    score(tmp_path / "mini/test", "--model", tmp_path / "model")
    costs = json.loads((tmp_path / "mini/test/score.json").read_text())["costs"]
    assert {(cost["system"], cost["rate"]): cost["audio_tokens"] for cost in costs} == tokens
    original = next(cost for cost in costs if cost["system"] == "original")
    assert (original["tf"], original["tm"], original["sa"]) == pytest.approx((12.195, 13.401, 0.195), rel=1e-3)
    assert original["prefill_flop"] == pytest.approx(12.195e12 - 2 * 856 * 4096 * 156032 + 0.385e12, rel=1e-3)
    page = (tmp_path / "mini/test/RESULTS.md").read_text()
    assert "## Costs of the prefill\n" in page
    lines = page.split("## Costs")[1].splitlines()
    assert next(line for line in lines if line.startswith("| 600 | 0.2 |")).split(" | ")[2:5] == [
        "10.06",
        "13.32",
        "0.1472",
    ]
    assert next(line for line in lines if line.startswith("| 750 ")).endswith(" | 100.00 | Original, silence |")
    assert f"--model {tmp_path / 'model'}" in page
    figure = curves.cost_figure(json.loads((tmp_path / "mini/test/score.json").read_text()))
    assert len(figure.axes) == 2


def test_a_model_that_cannot_be_counted_leaves_the_scores(tmp_path, caplog):
    experiments(tmp_path)
    score(tmp_path / "spiral/mini/test", "--model", tmp_path / "none")
    assert "none cannot be counted" in caplog.text
    assert "## Costs" not in (tmp_path / "spiral/mini/test/RESULTS.md").read_text()
