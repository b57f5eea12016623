"""How far a loop is: a bar in a terminal, lines in a log."""

from __future__ import annotations

import logging

import pytest

from speechprune.common import meter
from speechprune.common.meter import Meter


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(meter.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_a_line_comes_every_30_seconds(caplog, capsys, clock):
    caplog.set_level(logging.INFO)
    loop = Meter(range(100), "features 1/2", "recordings")
    for number in loop:
        clock[0] += 7.5
        loop.failed += number == 3
    assert capsys.readouterr().err == ""
    assert caplog.messages[:2] == [
        "features 1/2: 4 of 100 recordings, 1 failed, 30 s so far, about 12 min left",
        "features 1/2: 8 of 100 recordings, 1 failed, 60 s so far, about 12 min left",
    ]
    assert len(caplog.messages) == 24  # not one after the last item: the stage says what it did


def test_a_quick_loop_says_nothing(caplog, capsys, clock):
    caplog.set_level(logging.INFO)
    assert list(Meter(iter("abc"), "x", "rows")) == list("abc")
    assert caplog.messages == []
    assert capsys.readouterr().err == ""


def test_in_a_terminal_there_is_a_bar(caplog, capsys, monkeypatch):
    monkeypatch.setattr(meter.sys.stderr, "isatty", lambda: True)
    loop = Meter(range(3), "decode 1/1", "recordings")
    for _ in loop:
        loop.failed += 1
    err = capsys.readouterr().err
    assert "decode 1/1: 100%" in err
    assert "3/3" in err
    assert "failed=3" in err
    assert caplog.messages == []


@pytest.mark.parametrize("shown", [True, False])
def test_the_caller_may_decide(shown, caplog, capsys, clock):
    for _ in Meter(range(3), "x", "rows", shown):
        clock[0] += 40
    assert ("100%" in capsys.readouterr().err) == shown
    assert caplog.messages == []
