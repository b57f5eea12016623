"""What report.html is made from: choices put back in order, kept tokens, sound, the sample, tables from Markdown."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from helpers.pages import EVIL, make_cuts, row

from speechprune.report.page.answers import Masks, answer, probabilities
from speechprune.report.page.sample import choose_recordings
from speechprune.report.page.sections import HtmlTable, sections
from speechprune.report.page.sound import mp3, outline
from speechprune.scoring.breakdown import Asked
from speechprune.scoring.results import results_markdown


def test_rotated_probabilities_go_back_to_their_choices():
    # Under rotation 1 of three choices the letters stand for the choices 1, 2, 0.
    logprobs = np.log([0.7, 0.2, 0.1]).tolist()
    assert probabilities(logprobs, 1, 3) == [0.1, 0.7, 0.2]
    assert probabilities(logprobs, 0, 3) == [0.7, 0.2, 0.1]
    assert probabilities([0.0, float("nan")], 0, 2) is None
    assert probabilities([0.0, -1.0], 0, 3) is None
    assert probabilities([0.0, -1e9], 0, 2) == [1.0, 0.0]


@pytest.mark.parametrize("kept", ["", "AAAA", 7, "eJwDAAAAAAE="])
def test_kept_tokens_that_cannot_be_read_are_said_to_be_damaged(tmp_path, kept):
    (cut,) = make_cuts(tmp_path, 1)
    found = answer(row(cut, 0, "rap", 0.4, kept=kept), 4, Masks())
    assert (found["kept"], found["unknown"]) == (None, "damaged")


def test_outline_and_bytes_of_sound():
    samples = np.concatenate([np.zeros(500), np.full(250, -0.5), np.full(250, 0.25)]).astype(np.float32)
    assert list(outline(samples)) == [0] * 500 + [255] * 250 + [128] * 250
    assert list(outline(np.zeros(3, np.float32))) == [0, 0, 0]
    noise = np.random.default_rng(0).standard_normal(RATE_AND_A_HALF := 24000).astype(np.float32)
    assert mp3(noise) == mp3(noise)
    assert len(soundfile.read(io.BytesIO(mp3(noise)))[0]) == RATE_AND_A_HALF


def test_recordings_are_chosen_by_place_and_disagreement():
    def asked(position):
        return Asked("?", ("a", "b"), 0, "", position, 60.0)

    questions = {"a-q0": asked(0.1), "b-q0": asked(0.1), "c-q0": asked(0.9), "d-q0": asked(None), "e-q0": asked(0.15)}
    owners = {name: name[0] for name in questions}
    right = {"a-q0": "AAAA", "b-q0": "AABB", "c-q0": "BBBB", "d-q0": "AAAB", "e-q0": "AAAB"}
    rows = [
        {"id": name, "system": str(i), "prediction": letter, "answer": "A", "error": None}
        for name, letters in right.items()
        for i, letter in enumerate(letters)
    ]
    rows.append({"id": "a-q0", "system": "x", "prediction": None, "answer": "A", "error": "broken"})
    # In turn: no position (d), the first fifth (b, then e, then a), the last (c).
    assert [choose_recordings(rows, questions, owners, n) for n in (1, 2, 3, 4, 9)] == [
        ["d"],
        ["b", "d"],
        ["b", "c", "d"],
        ["b", "c", "d", "e"],
        ["a", "b", "c", "d", "e"],
    ]


def test_markdown_becomes_cells_of_text():
    scored = {"model": "m*i*ni <b>", "set": "s", "command": "c", "questions": 1, "chance": None, "missing": {}}
    system = {"system": "no_evidence | <i>", "rate": None, "tokens": 1, "n": 1, "accuracy": 1.0, "ci95": [0.2, 1.0]}
    system |= {"hard": {"n": 0, "accuracy": None}, "evidence_recall": None, "unparsed": 0, "errors": 0}
    scored |= {"systems": [system], "constant_letter": {"letter": "A", "accuracy": 1.0}}
    results, errors = sections(results_markdown(scored, [("**bold** <u>\n`x` [a](http://b)", "q-1")], []))
    assert results.parts[0].rows[0][0] == "no_evidence | &lt;i&gt;"
    assert errors.notes == ["1 x **bold** &lt;u&gt; `x` [a](http://b) (e.g. q-1)"]


def test_short_titles():
    titles = {
        "Costs of the prefill": "Costs",
        "Accuracy by position of the evidence": "Position",
        "Accuracy by duration": "Duration",
        "Problems in the hypothesis files (2)": "Problems",
        "Anything <else>": "Anything &lt;else&gt;",
    }
    markdown = "| a |\n| --- |\n| b |\n" + "".join(f"\n## {title}\n" for title in titles)
    assert [section.link for section in sections(markdown)[1:]] == list(titles.values())


def test_a_table_with_long_lines_has_smaller_letters():
    cell = "94.67 (87.07 to 97.91; 75)"
    assert HtmlTable(["?"] * 6, [["SpeechPrune"] + [cell] * 5, ["RAP"] + ["-"] * 5]).dense
    assert not HtmlTable(["?"] * 3, [["SpeechPrune"] + [cell] * 2]).dense
    assert not HtmlTable(["?"], []).dense


def test_tags_in_markdown_are_text():
    (section,) = sections(f"# Title\n\n| a |\n| --- |\n| {EVIL} |\n\n{EVIL}\n\n- {EVIL}\n")
    table, paragraph = section.parts
    for html in (table.rows[0][0], paragraph, *section.notes):
        assert "<script" not in html
        assert "<img" not in html
        assert "&lt;script&gt;" in html
