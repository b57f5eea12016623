"""What was heard of the recordings, in score.json; and tables in which nothing was pruned."""

from __future__ import annotations

import json
from dataclasses import asdict

from helpers.hypotheses import error_row, row, write_rows

from speechprune.decoding.listening import Listening
from speechprune.scoring.comparison import score
from speechprune.scoring.stage import write_results


def test_one_line_says_where_the_seconds_went():
    known = {"kept": "x", "duration": 90.0, "total_tokens": 2250}
    heard = Listening.of([row(0, "rap", 0.4, tokens=450, **known), row(1, "rap", 0.4, None, tokens=450, **known)])
    heard += Listening.of([row(0, "original", tokens=750, **known), error_row(1, "original")])
    assert str(heard) == (
        "270.0 s in the recordings of 3 rows: 66.0 s heard, 144.0 s dropped, 60.0 s truncated; 75.6 % not heard; "
        "1 unparsed, 1 failed"
    )
    assert str(Listening.of([row(0, "full")])) == "no seconds of recordings heard; 0 unparsed, 0 failed"


def test_seconds_are_those_of_the_recordings_and_where_they_went(tmp_path):
    known = {"kept": "x", "duration": 80.0, "total_tokens": 2000}
    rows = [row(i, "original", tokens=500, **known) for i in range(2)]
    rows += [row(i, "rap", 0.4, tokens=1000, **known) for i in range(2)]
    rows += [row(i, "full", tokens=2000, **known | {"kept": None}) for i in range(2)]  # in silence
    found = {(system.system, system.rate): system for system in score(rows)}
    assert asdict(found["original", None].seconds) == {
        "recordings": 160.0, "heard": 40.0, "dropped": 0.0, "truncated": 120.0, "ratio": 0.75,
    }  # fmt: skip
    assert asdict(found["rap", 0.4].seconds) == {
        "recordings": 160.0, "heard": 80.0, "dropped": 80.0, "truncated": 0.0, "ratio": 0.5,
    }  # fmt: skip
    assert found["full", None].seconds is None
    assert score([row(0, "rap", 0.4, tokens=1, **known | {"duration": 1e-4})])[0].seconds is None
    # A control that leaves a part out drops it.
    (cut,) = score(rows[:2], controls=["original"])
    assert (cut.seconds.dropped, cut.seconds.truncated) == (120.0, 0.0)


def test_recordings_too_short_to_prune_are_told(tmp_path, caplog):
    short = {"tokens": 140, "total_tokens": 140}
    rows = [row(i, "original", **short) for i in range(4)]
    rows += [row(i, "speechprune", 0.8, **(short if i else {"tokens": 150, "total_tokens": 151})) for i in range(4)]
    rows += [row(i, "rap", 0.9, **short | {"tokens": 75}) for i in range(4)]
    rows += [row(i, "rap", 0, **short) for i in range(4)]
    write_rows(tmp_path, rows)
    write_results(tmp_path, "score")
    told = "Recordings too short to prune: all of their audio tokens were kept by speechprune_0.8 for 3 of 4 questions"
    assert told in caplog.text
    assert f"**Warning:** {told}." in (tmp_path / "RESULTS.md").read_text()
    document = json.loads((tmp_path / "score.json").read_text())
    assert [system["unpruned"] for system in document["systems"]] == [0, 0, 0, 3]
