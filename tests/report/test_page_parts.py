"""What report.html is put together from, and the command that writes it."""

from __future__ import annotations

import base64
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from helpers.pages import EVIL, example, make_cuts, make_experiment, rows_of
from helpers.pages_read import Page
from helpers.shells import ROOT

from speechprune.cli import main
from speechprune.report.page.write import SCRIPTS, STYLES, embedded_figures, write_page


def test_the_page_is_called_by_corpus_and_set(tmp_path):
    cuts = make_cuts(tmp_path, 1)
    exp = make_experiment(tmp_path, [given | {"corpus": "spiral"} for given in rows_of(cuts)])
    page = Page(write_page(exp))
    assert page.text.startswith("SPIRAL, mini: results")
    assert "the paper's (Qwen2-Audio)" in page.text


def test_figures_are_embedded_in_their_order(tmp_path):
    cuts = make_cuts(tmp_path, 1)
    exp = make_experiment(tmp_path, rows_of(cuts))
    (exp / "figures").mkdir()
    png = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (900).to_bytes(4, "big") + (400).to_bytes(4, "big") + b"\x08"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg'>{EVIL}</svg>".encode()
    for name, content in {"zebra.svg": svg, "zebra.png": png, "evidence_recall.png": png, "accuracy.png": png}.items():
        (exp / "figures" / name).write_bytes(content)
    (exp / "figures" / "accuracy.pdf").write_bytes(b"%PDF")
    images = [attrs for tag, attrs in Page(write_page(exp)).tags if tag == "img"]
    assert [image["alt"].split(".")[0] for image in images] == [
        "Accuracy against pruning rate",
        "Evidence recall against pruning rate",
        "Zebra",
    ]
    assert images[0]["src"] == "data:image/png;base64," + base64.b64encode(png).decode()
    assert images[2]["src"] == "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
    assert (images[0]["width"], images[0]["height"]) == ("900", "400")


def test_the_wheel_holds_what_the_page_is_made_of(monkeypatch):
    given = {}
    monkeypatch.setattr("setuptools.setup", lambda **options: given.update(options))
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    assert "speechprune.report.page" in given["packages"]
    patterns = given["package_data"]["speechprune.report.page"]
    folder = ROOT / "speechprune" / "report" / "page"
    packed = {path for pattern in patterns for path in folder.glob(pattern)}
    assert packed == {path for path in folder.iterdir() if path.suffix in (".html", ".css", ".js")}
    assert {path.name for path in packed} >= {"page.html", "explorer.html", *STYLES, *SCRIPTS}


def test_the_command_writes_figures_and_page(tmp_path):
    exp, cuts = example(tmp_path)
    result = CliRunner().invoke(main, ["report", str(exp), "--cuts", str(cuts), "--recordings", "2"])
    assert result.exit_code == 0, result.output
    page = Page(exp / "report.html")
    assert len(page.data["recordings"]) == 2
    assert [tag for tag, _ in page.tags].count("img") >= 1


def test_a_dump_is_drawn_and_one_that_does_not_fit_leaves_the_page(tmp_path, caplog, monkeypatch):
    exp, cuts = example(tmp_path)
    calls = []

    def draw_embeddings(*given):
        calls.append(given)
        raise ValueError("the dump is another model's")

    drawer = SimpleNamespace(draw_embeddings=draw_embeddings)
    monkeypatch.setitem(sys.modules, "speechprune.report.embedding", drawer)  # the real one takes seconds to import
    monkeypatch.setattr("speechprune.cli.base.load_model", lambda name, *names, **options: f"model {name}")
    options = ["--cuts", str(cuts), "--dump", "the-dump", "--model", "mini"]
    result = CliRunner().invoke(main, ["report", str(exp), *options])
    assert result.exit_code == 0, result.output
    assert calls == [(exp, Path("the-dump"), "model mini", exp / "figures")]
    assert "audio and text tokens are not drawn: the dump is another model's" in caplog.text
    assert (exp / "report.html").is_file()


def test_scores_of_several_experiments_have_no_page(tmp_path):
    (tmp_path / "score.json").write_text('{"experiments": []}')
    with pytest.raises(ValueError, match="give the folder of one model and one set"):
        write_page(tmp_path)


def test_a_folder_called_as_a_figure_is_none(tmp_path):
    (tmp_path / "accuracy.png").mkdir()
    (tmp_path / "gone.svg").symlink_to("nowhere")
    assert embedded_figures(tmp_path) == []
