"""Tables I and II in three forms, the paper's figures beside ours, several folders, and the command."""

from __future__ import annotations

import csv
import io
import json

import pytest
from click.testing import CliRunner
from helpers.documents import document, study, system
from helpers.hypotheses import row, write_rows
from helpers.speech_configs import SEVEN_B

from speechprune.cli import main
from speechprune.report import curves
from speechprune.scoring import paper, results, tables


def spiral(model: str = "mini", name: str = "spiral") -> dict:
    systems = [system("original", accuracy=0.4711, hard={"n": 40, "accuracy": 0.0}), system("rap", 0.4, 0.31)]
    systems += [system("speechprune", 0.2, 0.9), system("speechprune", 0.4, 0.81)]
    return document(*systems, model=model, set=name)


def cells(table: tables.Table, name: str, *columns: str, rate: str = "-") -> list[str]:
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


def test_the_papers_column_stands_at_the_papers_corpora_alone():
    assert not any("paper" in name for name in tables.table_one(spiral(name="test")).header)
    assert "paper" not in results.results_markdown(spiral(name="test"), [], [])
    page = results.results_markdown(spiral(), [], [])
    assert "| 81.00 | 71.00 to 89.00 | 85.97 |" in page
    assert "not measured here" in page


def test_several_sets_stand_side_by_side():
    table = tables.table_one(spiral(), spiral(name="dream_tts") | {"systems": [system("original", accuracy=0.5)]})
    assert cells(table, "Original", "SPIRAL: %", "DREAM-TTS: %", "DREAM-TTS: %, the paper's (Qwen2-Audio)") == [
        *("47.11", "50.00", "53.69"),
    ]
    assert cells(table, "RAP", "DREAM-TTS: n", "DREAM-TTS: %", rate="0.4") == ["-", "-"]


def test_table_two_has_models_by_corpora():
    ours = [spiral("Qwen/Qwen2-Audio-7B-Instruct"), spiral("mini"), spiral("mini", "dream_tts")]
    table = tables.table_two(ours)
    columns = ("SPIRAL: %", "SPIRAL: %, the paper's", "DREAM-TTS: %, the paper's")
    assert cells(table, "Qwen/Qwen2-Audio-7B-Instruct", *columns) == ["47.11", "60.38", "-"]
    assert cells(table, "Qwen/Qwen2-Audio-7B-Instruct", *columns, rate="0.2") == ["90.00", "89.23", "-"]
    assert cells(table, "mini", *columns, rate="0.4") == ["81.00", "-", "-"]
    assert cells(table, "DiVA (the paper)", *columns) == ["-", "48.62", "45.72"]
    assert cells(table, "DiVA (the paper)", *columns, rate="0.15") == ["-", "57.51", "53.10"]
    assert not any(line[0] == "Qwen2-Audio (the paper)" for line in table.rows)
    assert len(tables.table_two([spiral(name="test")]).header) == 6


def test_the_papers_figures():
    assert paper.accuracy("spiral", "mini", "rac", 0.6) == ("58.20", "35.41")
    assert paper.accuracy("spiral", "WillHeld/DiVA-llama-3-v0-8b", "speechprune", 0.15) == ("57.51", None)
    assert paper.accuracy("cn_college_listen", "exp/qwen2_audio", "original", None) == ("52.91", None)
    assert paper.accuracy("test", "mini", "original", None) == (None, None)
    assert [paper.family(name) for name in ("mini", "/x/Qwen2-Audio-7B", "diva")] == [None, "Qwen2-Audio", "DiVA"]


def test_csv_and_latex_hold_the_same_cells():
    table = tables.Table(("System", "a % & b"), [("x_1", "50"), ('"<b>"\\', "#{2}~^$")])
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
    for model, name in (("mini", "spiral"), ("mini", "test"), ("other", "test")):
        rows = [row(i, "original", None, "AB"[i % 2], model=model) for i in range(6)]
        write_rows(folder / model / name, rows + [row(i, "speechprune", 0.2, model=model) for i in range(6)])


def score(*arguments: object) -> str:
    result = CliRunner().invoke(main, ["score", *map(str, arguments)])
    assert result.exit_code in (0, 1), result.output
    return result.output


def test_the_command_compares_folders(tmp_path):
    experiments(tmp_path)
    folders = [tmp_path / name for name in ("mini/spiral", "mini/test", "other/test")]
    assert "3 folders, but no --out" in score(*folders)
    assert "--cuts x with 2 folders" in score(*folders[:2], "--cuts", "x", "--out", tmp_path / "out")
    assert "both are model mini on set spiral" in score(folders[0], folders[0], "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    score(*folders, "--out", tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["RESULTS.md", "score.json", "table1.csv", "table1.tex", "table2.csv", "table2.tex"]
    page = (tmp_path / "out/RESULTS.md").read_text()
    assert f"speechprune score {tmp_path}/mini/spiral" in page
    assert "Table II" in page
    found = json.loads((tmp_path / "out/score.json").read_text())["experiments"]
    assert [(item["model"], item["set"]) for item in found] == [("mini", "spiral"), ("mini", "test"), ("other", "test")]
    assert "mini,SpeechPrune,0.2,6,100.00" in (tmp_path / "out/table2.csv").read_text()


def test_the_command_takes_a_system_to_compare_with_and_a_place(tmp_path):
    experiments(tmp_path)
    score(tmp_path / "mini/test", "--against", "speechprune_0.2", "--out", tmp_path / "out")
    page = (tmp_path / "out/RESULTS.md").read_text()
    assert "## Balanced accuracy, and against SpeechPrune at 0.2\n" in page
    assert "--against speechprune_0.2" in page
    assert not (tmp_path / "mini/test/RESULTS.md").exists()
    assert "no system 'x' to compare with; choose from: original, speechprune_0.2" in score(
        tmp_path / "mini/test", "--against", "x"
    )
    text = CliRunner().invoke(main, ["score", "--help"]).output
    assert all(option in text for option in ("--cuts", "--against", "--model", "--out"))
    assert "--permute" in CliRunner().invoke(main, ["decode", "--help"]).output


# Figures


def points(axes) -> dict[str, tuple[list[float], list[float]]]:
    return {c.get_label(): (list(c.lines[0].get_xdata()), list(c.lines[0].get_ydata())) for c in axes.containers}


def priced() -> dict:
    scores = study()
    for item in scores["systems"]:
        item["tokens"] = 2200 if item["rate"] is None else round(750 * (1 - item["rate"]))
    return scores


def test_accuracy_is_drawn_against_tokens_and_flop():
    scores = priced()
    flop = {600: 9e12, 450: 7e12, 300: 5e12, 150: 3e12, 2200: 33e12, 0: 1e9}
    costs = [{"audio_tokens": tokens, "text_tokens": 107, "prefill_flop": count} for tokens, count in flop.items()]
    figure = curves.cost_figure(scores | {"costs": costs})
    left, right = (points(axes) for axes in figure.axes)
    mine = [item for item in scores["systems"] if item["system"] == "rap"]
    aside = 0.05  # methods stand side by side
    assert left["RAP"][0] == pytest.approx([150, 300, 450, 600], rel=aside)
    assert left["RAP"][0] != left["RAC"][0]
    assert left["RAP"][1] == pytest.approx([100 * item["accuracy"] for item in reversed(mine)])
    assert right["RAP"][0] == pytest.approx([3, 5, 7, 9], rel=aside)
    assert (left["Full"][0], right["Full"][0]) == ([2200], [33])
    assert "silence" not in left
    assert len(curves.cost_figure(scores).axes) == 1
    assert curves.cost_figure(document(system("original"))) is None


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
    score(tmp_path / "mini/test", "--model", tmp_path / "none")
    assert "none cannot be counted" in caplog.text
    assert "## Costs" not in (tmp_path / "mini/test/RESULTS.md").read_text()
    (tmp_path / "score.json").write_text(json.dumps(priced() | {"costs": []}))
    written = curves.draw_curves(tmp_path / "score.json", tmp_path)
    assert [path.name for path in written] == ["accuracy_cost.png", "accuracy_cost.pdf"]
    assert all(path.stat().st_size > 5000 for path in written)


def test_accuracy_by_position_is_drawn_at_one_rate():
    def part(name: str, rate: float | None, shares: tuple[float, ...]) -> dict:
        edges = [(0.0, 0.2), (0.2, 0.4), (0.8, 1.0)]
        bins = [
            {"low": low, "high": high, "n": 9, "accuracy": share, "ci95": [share - 0.1, share + 0.1]}
            for (low, high), share in zip(edges, shares, strict=True)
        ]
        return {"system": name, "rate": rate, "bins": bins}

    parts = [
        part("original", None, (0.9, 0.5, 0.2)),
        part("rap", 0.4, (0.3, 0.4, 0.5)),
        part("rap", 0.8, (0.1, 0.2, 0.3)),
    ]
    scores = document(system("original"), system("rap", 0.4), system("rap", 0.8), by_position=parts, by_duration=[])
    (axes,) = curves.position_figure(scores).axes
    found = points(axes)
    assert list(found) == ["Original", "RAP (0.4)"]
    assert found["RAP (0.4)"][1] == pytest.approx([30, 40, 50])
    assert found["Original"][0] == pytest.approx([0, 1, 2], abs=0.2)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0-20", "20-40", "80-100"]
    assert curves.position_figure(document(system("rap", 0.4), by_position=[], by_duration=[])) is None
