"""What report.html is made from: choices put back in order, kept tokens, sound, the sample, blocks as HTML."""

from __future__ import annotations

import io

import markupsafe
import numpy as np
import pytest
import soundfile
from helpers.documents import study
from helpers.pages import EVIL, make_cuts, row

from speechprune.report.page.answers import Masks, answer, probabilities
from speechprune.report.page.markup import inline, is_dense
from speechprune.report.page.sample import choose_recordings
from speechprune.report.page.sound import mp3, outline
from speechprune.scoring.blocks import Code, Strong, Table
from speechprune.scoring.breakdown import Asked
from speechprune.scoring.results import results_sections


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


def test_short_titles():
    scores = study() | {"costs": [], "by_position": [], "by_duration": []}
    for item in scores["systems"]:
        item["balanced_accuracy"] = item["accuracy"]
    found = results_sections(scores, [("broken", "q-1")], ["line 1"])
    assert [(section.title, section.short) for section in found] == [
        ("Results", "Results"),
        ("Balanced accuracy", "Balanced"),
        ("Errors (1 rows)", "Errors"),
        ("Problems in the hypothesis files (1)", "Problems"),
    ]


def test_a_table_with_long_lines_has_smaller_letters():
    cell = "94.67 (87.07 to 97.91; 75)"
    assert is_dense(Table(("?",) * 6, [("SpeechPrune", *[cell] * 5), ("RAP", *["-"] * 5)]))
    assert not is_dense(Table(("?",) * 3, [("SpeechPrune", *[cell] * 2)]))
    assert not is_dense(Table(("?",), []))


def test_tags_in_text_are_text():
    assert inline(EVIL) == markupsafe.escape(EVIL)
    assert inline((Strong("<b>"), " & ", Code("<i>"))) == "<strong>&lt;b&gt;</strong> &amp; <code>&lt;i&gt;</code>"
    assert inline("**no** `markup`\x00") == "**no** `markup` "
