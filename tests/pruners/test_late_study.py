"""The study of docs/pruners.md on function words and on two facts runs as it is printed there."""

from __future__ import annotations

import runpy
import sys
from itertools import pairwise

import pytest
from helpers.decoding import make_dump, make_recordings, tiny_llm
from helpers.shells import ROOT

from speechprune import SpeechLLM

SCRIPT = ROOT / "egs" / "mini_sir" / "late_interaction.py"


def test_study_prints_a_line_for_each_way_of_asking(tmp_path, monkeypatch, capsys):
    model = tiny_llm(tmp_path / "tiny")
    cuts = make_recordings(tmp_path, (13.0,))
    cuts[0].custom["questions"] = cuts[0].custom["questions"][:2]  # those with evidence
    dump = make_dump(tmp_path, cuts, model)
    monkeypatch.setattr(SpeechLLM, "from_pretrained", lambda _: model)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(dump)])
    runpy.run_path(str(SCRIPT))
    lines = [line.rsplit(" ", 3) for line in capsys.readouterr().out.splitlines() if line[:3] in ("rap", "spe", "lat")]
    assert len(lines) == 7 * 3 * 3
    shares = {(asked, int(keep)): (float(mean), float(worst)) for asked, keep, mean, worst in lines}
    for system in {asked for asked, _ in shares}:
        found = [shares[system, keep][0] for keep in (300, 150, 75)]
        assert all(more >= less for more, less in pairwise(found)), system
    assert shares["rap {} as asked", 300] == pytest.approx((92.3, 92.3), abs=12)  # 300 of 325 tokens
    assert all(worst <= mean for mean, worst in shares.values())
