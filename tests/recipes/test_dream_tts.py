"""DREAM's dialogues, spoken here."""

from __future__ import annotations

import json
import re

import pytest
from helpers.raw_corpora import (
    cuts_of,
    dream_dialogue,
    problems_of,
)
from speechprune.recipes import dream_tts


def dream(folder, rows, name="dev"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(rows))
    return folder


def test_spoken_dialogues(tmp_path):
    turns = ["W: Hello, Dave.", "Dave: Hello.", "M: Am I late?", "W: ..."]
    raw = dream(tmp_path / "raw", [dream_dialogue("5-12", turns), dream_dialogue("5-13")])
    dream_tts.prepare_dream_tts(raw, tmp_path / "data", ["dev"], tts="espeak")
    cuts = cuts_of(tmp_path / "data" / "dev")
    assert list(cuts) == ["dev-5_12", "dev-5_13"]
    first = cuts["dev-5_12"]
    assert [s.text for s in first.supervisions] == ["Hello, Dave.", "Hello.", "Am I late?"]
    assert [s.gender for s in first.supervisions[::2]] == ["F", "M"]
    assert len({s.custom["voice"] for s in first.supervisions}) == 3
    assert first.custom["resynthesised"] == "espeak"
    assert first.custom["questions"][0] | {"source": ""} == {
        "id": "dev-5_12-q0",
        "question": "Who is late?",
        "choices": ["The man.", "The woman.", "Nobody."],
        "answer": 0,
        "evidence": None,
        "source": "",
    }
    text = problems_of(tmp_path / "data", "dev")
    assert "dev.json: rows: 2 dialogues with 2 questions, expected 1288 with 2040, as published" in text


@pytest.mark.parametrize(
    ("speaker", "gender"),
    [
        *((name, "F") for name in ("W", "F", "W1", "Dave's Sister", "Mrs. Adams")),
        *((name, "M") for name in ("M", "Man 2", "Mr. Adams", "Father")),
        *((name, None) for name in ("Hotel Clerk", "Dave", "")),
    ],
)
def test_what_a_speakers_name_says_about_the_sex(speaker, gender):
    assert dream_tts._gender(speaker) == gender


DIALOGUES = {
    "answer not among choices": (dream_dialogue("1-1", answer="The dog."), "question 1: .*'The dog.' is not among"),
    "choices repeated": (dream_dialogue("1-1", choice=["x", "x", "y"], answer="y"), "expected three that differ"),
    "two choices": (dream_dialogue("1-1", choice=["x", "y"], answer="y"), "expected three that differ"),
    "a turn without a speaker": (dream_dialogue("1-1", ["Hello there"]), "expected 'speaker: words'"),
    "an id that leads out": (dream_dialogue("../../x"), "id: dev-../../x, expected letters"),
    "an id that stands twice": (dream_dialogue("5-12"), "an id that no other recording has"),
    "nothing to say": (dream_dialogue("1-1", ["M: ..."]), "nothing to speak"),
    "no dialogue": ([["M: x"], []], "not enough values"),
    "no list": ({"a": 1}, "dialogue"),
    "no question": (dream_dialogue("1-1", question=None), "question 1"),
}


@pytest.mark.parametrize("case", DIALOGUES)
def test_a_bad_dialogue_is_named_and_left_out(case, tmp_path):
    row, message = DIALOGUES[case]
    raw = dream(tmp_path / "raw", [dream_dialogue("5-12"), row])
    dream_tts.prepare_dream_tts(raw, tmp_path / "data", ["dev"], tts="espeak")
    assert list(cuts_of(tmp_path / "data" / "dev")) == ["dev-5_12"]
    lines = [line for line in problems_of(tmp_path / "data", "dev").splitlines() if line.startswith("dev.json:2")]
    assert re.search(message, "\n".join(lines)), lines
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "raw"]


def test_dream_files_that_are_not_there_or_no_json(tmp_path):
    raw = dream(tmp_path / "raw", [])
    with pytest.raises(FileNotFoundError, match=r"test\.json \(the folder has: dev\)"):
        dream_tts.prepare_dream_tts(raw, tmp_path / "data", tts="espeak")
    with pytest.raises(FileNotFoundError, match="hf download --repo-type dataset AudioLLMs/dream_tts_mcq_test"):
        dream_tts.prepare_dream_tts(raw, tmp_path / "data")
    with pytest.raises(ValueError, match="dream_tts has no set 'eval'; choose from: test, test_60s, dev"):
        dream_tts.prepare_dream_tts(raw, tmp_path / "data", ["eval"])
    (raw / "dev.json").write_bytes(b'[["caf\xe9"]]')
    with pytest.raises(ValueError, match=r"dev\.json is not JSON"):
        dream_tts.prepare_dream_tts(raw, tmp_path / "data", ["dev"], tts="espeak")
