"""`speechprune describe`: what it says and draws."""

from __future__ import annotations

from click.testing import CliRunner
from helpers.fakes import make_corpus
from matplotlib.figure import Figure

from speechprune.cli import main
from speechprune.data.cuts import write_cuts


def test_describe_counts_in_whole_numbers(tmp_path, monkeypatch):
    cuts = make_corpus(tmp_path, 1, 2.0)
    cuts[0].custom["questions"] = cuts[0].custom["questions"][:1]
    cuts[0].custom["questions"][0]["evidence"] = [{"start": 0.5, "duration": 1.0}]
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    ticks = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: ticks.extend(figure.axes[0].get_yticks()))
    words = ["describe", tmp_path / "cuts.jsonl", "--picture", tmp_path / "a.PNG"]
    result = CliRunner().invoke(main, list(map(str, words)))
    assert result.exit_code == 0, result.output
    assert "\nevidence    1 span, 100.0 % end" in result.stdout
    assert ticks == [round(tick) for tick in ticks] != []
