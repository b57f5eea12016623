"""report.html as a file: what stands in it, text that stays text, what may be missing, and the same bytes again."""

from __future__ import annotations

import base64
import hashlib
import io
import re

import numpy as np
import pytest
import soundfile
from helpers.pages import (
    CHOICES,
    EVIL,
    KEPT,
    LOGPROBS,
    TOKENS,
    example,
    make_cuts,
    make_experiment,
    old,
    rows_of,
    tones,
)
from helpers.pages_read import Page

from speechprune.data.cuts import write_cuts
from speechprune.report.page.write import write_page


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    exp, cuts = example(folder)
    return exp, cuts, Page(write_page(exp, cuts))


def test_the_page_has_the_words_and_tables_of_results_md(made):
    exp, _, page = made
    lines = (exp / "RESULTS.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| SpeechPrune")]
    assert len(rows) == 2
    for line in rows:  # the headline's, and the paired test's
        assert " ".join(line.replace("|", " ").split()) in page.text
    for heading in (line.removeprefix("## ") for line in lines if line.startswith("## ")):
        assert heading in page.text
    assert "6 x out of memory" in page.text
    assert "Wilson interval" in page.text


def test_text_of_a_corpus_stays_text(made):
    page = made[2]
    names = [tag for tag, _ in page.tags]
    assert names.count("script") == 4  # data, two recordings with sound, and ours
    assert "img" not in names
    assert all(not name.startswith("on") and name != "style" for _, attrs in page.tags for name in attrs)
    assert f"Scored by speechprune score {EVIL}" in page.text
    assert "out of memory </script><script>" in page.text
    raw = page.scripts["script", "data"]
    assert not set("<>&\u2028\u2029") & set(raw)
    questions = page.data["questions"]
    assert questions[0]["question"].endswith(EVIL)
    assert questions[0]["choices"] == CHOICES
    assert page.data["recordings"][0]["sentences"][0] == {
        "start": 0.0,
        "end": 0.9,
        "speaker": "anna",
        "text": f"First {EVIL}",
    }


def test_the_policy_allows_what_is_in_the_page_and_nothing_else(made):
    page = made[2]
    policy = next(attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    hashes = {
        kind: base64.b64encode(hashlib.sha256(page.scripts[kind, None].encode()).digest()).decode()
        for kind in ("script", "style")
    }
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes['style']}'; "
        f"script-src 'sha256-{hashes['script']}'; base-uri 'none'; form-action 'none'"
    )
    links = [attrs[name] for _, attrs in page.tags for name in ("src", "href", "action") if name in attrs]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", page.scripts["script", None]
    )


def test_what_each_system_kept_and_said(made):
    data = made[2].data
    systems = [system["label"] for system in data["systems"]]
    question = next(q for q in data["questions"] if q["id"] == "test-0001-q1")
    given = {name: answers for name, answers in zip(systems, question["answers"], strict=True)}
    assert data["systems"][data["chosen"]] == {
        "label": "speechprune_0.4",
        "title": "SpeechPrune 0.4",
        "name": "SpeechPrune",
        "rate": "0.4",
    }
    (mine,) = given["speechprune_0.4"]
    mask = np.unpackbits(np.frombuffer(base64.b64decode(data["masks"][mine["kept"]]), np.uint8), count=TOKENS)
    assert np.flatnonzero(mask).tolist() == list(KEPT)
    assert (mine["prediction"], mine["tokens"], mine["total"], mine["recall"]) == (1, len(KEPT), TOKENS, 0.5)
    weights = np.exp(LOGPROBS)
    np.testing.assert_allclose(mine["p"], weights / weights.sum(), atol=1e-4)
    assert question["evidence"] == [[1.0, 2.0]]
    assert question["distractors"] == [[2.0, 3.5]]
    assert {name: answers[0]["unknown"] for name, answers in given.items()} == {
        "full": None,
        "original": "old",
        "rap_0.4": None,
        "speechprune_0.4": None,
        "talker": None,
        "silence": "unheard",
        "broken": "error",
        "turned": None,
    }
    assert given["broken"][0]["error"] == f"out of memory {EVIL}"
    assert (given["talker"][0]["reply"], given["talker"][0]["prediction"], given["talker"][0]["p"]) == (
        f"B {EVIL}",
        1,
        None,
    )
    assert [turned["prediction"] for turned in given["turned"]] == [0, 1, 2, 3]  # "A" every time


def test_sound_is_the_recording(made):
    page = made[2]
    assert [("script", f"sound-{i}") in page.scripts for i in range(3)] == [True, True, False]
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(page.scripts["script", "sound-0"])))
    assert (rate, samples.shape) == (16000, tones().shape)
    assert np.corrcoef(samples, tones())[0, 1] > 0.95
    note = page.data["recordings"][2]["note"]
    assert note.startswith("This recording cannot be read any more: ")
    assert note.endswith("test-0002.wav: no such audio file")
    assert page.data["recordings"][2]["peaks"] is None


def test_equal_inputs_give_equal_bytes(made):
    exp, cuts, page = made
    assert write_page(exp, cuts).read_text(encoding="utf-8") == page.html


def test_the_page_says_what_it_holds(made, tmp_path):
    exp, cuts, page = made
    assert "All 6 questions, of 3 recordings, are in this page." in page.text
    assert "drawn at random" not in page.text
    fewer = Page(write_page(exp, cuts, recordings=1))
    assert "2 of the 6 questions, of 1 recording, are in this page" in fewer.text
    assert "chosen, not drawn at random" in fewer.text
    assert len(fewer.data["recordings"]) == 1


def test_the_first_question_shown_is_one_that_pruning_saves(made, tmp_path):
    # Original says A everywhere and SpeechPrune what is right: that is B in the second question of each recording.
    sentence = "the page first shows one that Original answers wrong and SpeechPrune 0.4 right."
    assert made[2].data["opening"] == 1
    assert sentence in made[2].text
    cuts = make_cuts(tmp_path, 1)
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    others = {
        "no_original": [given for given in rows_of(cuts) if given["system"] != "original"],
        "wrong": [given | ({"prediction": "C"} if given["rate"] else {}) for given in rows_of(cuts)],
        "failed": [given | ({"error": "?"} if given["system"] == "original" else {}) for given in rows_of(cuts)],
    }
    for name, rows in others.items():
        page = Page(write_page(make_experiment(tmp_path / name, rows), tmp_path / "cuts.jsonl"))
        assert page.data["opening"] == 0, name
        assert "the page first shows" not in page.text


def test_links_to_sections_are_short(made):
    nav = made[2].html.split("<nav")[1].split("</nav>")[0]
    links = ["Results", "Figures", "Single questions", "Balanced", "Rotated choices", "Give-aways", "Errors"]
    assert re.findall(r">([^<]+)</a>", nav) == links


def test_long_recordings_leave_the_page_small(tmp_path, monkeypatch):
    exp, cuts = example(tmp_path)
    monkeypatch.setattr("speechprune.report.page.explorer.SECONDS_EACH", 2)  # 6 s for 3 recordings of 4 s
    page = Page(write_page(exp, cuts, recordings=3))
    notes = [recording["note"] for recording in page.data["recordings"]]
    assert notes[0] is None
    assert notes[1].startswith(
        "This recording lasts 4 s and is not embedded, to keep the page small: there was room for 2 s"
    )


def test_a_page_without_cuts_and_figures(tmp_path):
    cuts = make_cuts(tmp_path, 1)
    exp = make_experiment(tmp_path, [old(given) for given in rows_of(cuts)])
    page = Page(write_page(exp))
    assert f"speechprune report {exp} --cuts CUTS" in page.text
    assert f"There were no figures in {exp}/figures" in page.text
    assert [tag for tag, _ in page.tags].count("script") == 0
    assert "SpeechPrune 0.4" in page.text


def test_cuts_that_are_about_something_else(tmp_path, caplog):
    cuts = make_cuts(tmp_path, 2)
    exp = make_experiment(tmp_path, rows_of(cuts[:1]))
    write_cuts(tmp_path / "others.jsonl", cuts[1:])
    page = Page(write_page(exp, tmp_path / "others.jsonl"))
    assert "None of the questions that were asked stands in the cuts" in page.text
    assert "2 questions of the hypotheses, such as test-0000-q0, are absent" in caplog.text
    with pytest.raises(FileNotFoundError):
        write_page(exp, tmp_path / "absent.jsonl")
