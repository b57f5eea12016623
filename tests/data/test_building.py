"""Choices in one text, building a set piece by piece, and describing it."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from helpers.raw_corpora import wav_bytes
from lhotse import MonoCut, Recording, SupervisionSegment

from speechprune.data.building import Item, build_cuts, path_inside, select_cuts, split_subset
from speechprune.data.choices import answer_index, split_choices
from speechprune.data.describe import describe_cuts, draw

CHOICES = {
    "(A) x\n(B) y\n(C) z": ("", ["x", "y", "z"]),
    "(A) The man.\n(B) A dog.": ("", ["The man.", "A dog."]),
    "A. Stormy; B. Cloudy; C. Thundery.": ("", ["Stormy", "Cloudy", "Thundery"]),
    "Why? A. Rainy B. Sunny C. Cloudy": ("Why?", ["Rainy", "Sunny", "Cloudy"]),
    "A.x;B.y;C.z;": ("", ["x", "y", "z"]),
    "A . x ;  B . y ;C . z": ("", ["x", "y", "z"]),
    "(A)a b(B)c d": ("", ["a b", "c d"]),
    "A) x B) y": ("", ["x", "y"]),
    "\uff08A\uff09x\n\uff08\uff22\uff09 y\n\uff08C\uff09z.": ("", ["x", "y", "z"]),
    "\uff21\uff0ex\uff1b \uff22\uff0ey\uff1b\uff23\uff0ez\uff1b": ("", ["x", "y", "z"]),
    "Up at 9 A.M.? A. 5 A.M.; B. 6 A.M.; C. 7 A.M.": ("Up at 9 A.M.?", ["5 A.M.", "6 A.M.", "7 A.M."]),
    "A. In Boston; B. In Rome; C. In Washington D.C.": ("", ["In Boston", "In Rome", "In Washington D.C."]),
    "(A) Vitamin C. milk\n(B) vitamin D. \n(C) c": ("", ["Vitamin C. milk", "vitamin D.", "c"]),
    "A. At2:00 B. At2:15 C. At2:30": ("", ["At2:00", "At2:15", "At2:30"]),
}


@pytest.mark.parametrize("text", CHOICES)
def test_choices_are_cut_exactly(text):
    assert split_choices(text) == CHOICES[text]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A. x; C. y", "choice B is missing in 'A. x; C. y'; letters found: A, C"),
        ("(A) x\n(B) y\n(D) z", "choice C is missing"),
        ("(A) x\n(B) y\n(B) w\n(C) z", "choice B stands twice"),
        ("B. x; C. y", "choice A is missing"),
        ("A. x", "choice B is missing"),
        ("x; y; z", "choice A is missing .*; letters found: none"),
        ("", "choice A is missing"),
        ("A. x; B. ; C. z", "choice B is empty"),
    ],
)
def test_what_is_no_list_of_choices(text, message):
    with pytest.raises(ValueError, match=message):
        split_choices(text)


@pytest.mark.parametrize(
    "answer", ["B", " B ", "(B)", "(B) blue", "B. blue", "B. blue.", "blue", "\uff22", "(B)  blue\n"]
)
def test_answers(answer):
    assert answer_index(answer, ["red", "blue.", "green"]) == 1


@pytest.mark.parametrize("answer", ["D", "(A) blue", "pink", "", "AB", "b"])
def test_no_answers(answer):
    with pytest.raises(ValueError, match="is not among the choices"):
        answer_index(answer, ["red", "blue", "green"])


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "C:\\x", "..\\x", "", "a\nb"])
def test_names_that_lead_out(tmp_path, name):
    with pytest.raises(ValueError, match="expected one that stays inside"):
        path_inside(tmp_path, name)


def test_subsets():
    assert split_subset(["dev_60s", "test", "dev"], ("test", "dev"), "_60s", "x") == {
        "dev": ["dev_60s", "dev"],
        "test": ["test"],
    }


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(wav_bytes(40.0, rate=1000))
    return path


def cut(name: str, wav: Path, answer: int = 1, duration: float = 2.0, **custom) -> MonoCut:
    question = {"id": f"{name}-q0", "question": "Who?", "choices": ["a", "b", "c"], "answer": answer}
    question["evidence"] = [{"start": 10.0, "duration": duration}]
    speech = SupervisionSegment(f"{name}-s0", name, 10.0, 2.0, text="x", speaker=f"{name}-w", gender="F")
    recording = Recording.from_file(wav, recording_id=name)
    return MonoCut(name, 0.0, 40.0, 0, [speech], recording=recording, custom={"questions": [question], **custom})


def test_what_is_made_is_not_made_again(tmp_path, wav):
    made = []

    def item(name, inputs):
        return Item(name, "x:1", inputs, lambda: (made.append(name), cut(name, wav))[1])

    folder = tmp_path / "test"
    build_cuts(folder, [item("test-0", 1), item("test-1", 1)], [], progress=False)
    first = (folder / "cuts.jsonl.gz").read_bytes()
    build_cuts(folder, [item("test-0", 1), item("test-1", 1)], [], progress=False)
    assert made == ["test-0", "test-1"]
    assert (folder / "cuts.jsonl.gz").read_bytes() == first
    (folder / "parts" / "test-1.json").write_text('{"inputs": "torn')
    cuts = build_cuts(folder, [item("test-0", 2), item("test-1", 1), item("test-2", 1)], [], progress=False)
    assert made[2:] == ["test-0", "test-1", "test-2"]
    assert [c.id for c in cuts] == ["test-0", "test-1", "test-2"]
    assert len(list(select_cuts(cuts, tmp_path / "one", lambda c: c.id == "test-1"))) == 1
    # What is no longer in the corpus leaves the set.
    assert [c.id for c in build_cuts(folder, [item("test-2", 1)], [], progress=False)] == ["test-2"]


def test_a_cut_that_breaks_its_contract_is_left_out(tmp_path, wav):
    """Evidence beyond the recording's end among others."""
    items = [
        Item("test-0", "x:1", 0, lambda: cut("test-0", wav)),
        Item("test-1", "x:2", 0, lambda: cut("test-1", wav, duration=99.0)),
        Item("test-2", "x:3", 0, lambda: cut("test-2", wav, answer=3)),
        Item("test-0", "x:4", 0, lambda: cut("test-0", wav)),
    ]
    problems = []
    assert [c.id for c in build_cuts(tmp_path / "test", items, problems, progress=False)] == ["test-0"]
    assert [str(p) for p in problems] == (tmp_path / "test" / "problems.txt").read_text().splitlines()
    assert "x:2: test-1: questions[0].evidence[0]: ends at 109.000, expected at most 40.000" in str(problems[0])
    assert "x:3: test-2: questions[0].answer: 3, expected an index below 3" in str(problems[1])
    assert str(problems[2]) == "x:4: id: test-0, expected an id that no other recording has"
    build_cuts(tmp_path / "test", items[:1], [], progress=False)
    assert not (tmp_path / "test" / "problems.txt").exists()


def test_memory_does_not_grow_with_the_number_of_recordings(tmp_path, wav):
    def items(count):
        return (Item(f"test-{k}", "x", k, lambda k=k: cut(f"test-{k}", wav, note="x" * 100_000)) for k in range(count))

    peaks = []
    for count in (10, 60):
        tracemalloc.start()
        build_cuts(tmp_path / str(count), items(count), [], progress=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 1e6  # the 50 more hold 5 MB


def test_describe(tmp_path, wav):
    cuts = [
        cut("test-0", wav, 1, scenario="talk", resynthesised="espeak"),
        cut("test-1", wav, 1, scenario="talk"),
        cut("test-2", wav, 0, 30.0, scenario="chat"),
    ]
    found = describe_cuts(cuts, [])
    assert (found.questions, found.choices, found.letters) == (3, {3: 3}, {"A": 1, "B": 2})
    assert found.positions == pytest.approx([11 / 40, 11 / 40, 25 / 40])
    text = str(found)
    for words in (
        "3, 0.03 h",
        "  A 1, B 2\n",
        'Constant letter "B": 66.67 % [20.77, 93.85] of 3, no better than chance, 33.33 %',
        "3 spans, 66.7 % end within 30 s",
        "3; sex: F 3",
        "by espeak 1 recordings",
        "chat 1, talk 2",
        "than 30 s: 3; than 60 s: 0",
    ):
        assert words in text
    assert draw(found, tmp_path / "x.png", "test").read_bytes().startswith(b"\x89PNG")
    assert json.dumps(found.durations) == "[40.0, 40.0, 40.0]"
    with pytest.raises(ValueError, match="no cuts"):
        describe_cuts([], [])


def test_cuts_name_their_corpus_also_those_made_before(tmp_path, wav):
    items = [Item("test-0", "x:1", 0, lambda: cut("test-0", wav))]
    before = build_cuts(tmp_path / "test", items, [], progress=False)
    assert "corpus" not in next(iter(before)).custom
    after = build_cuts(tmp_path / "test", items, [], progress=False, corpus="mine")
    assert [found.custom["corpus"] for found in after] == ["mine"]
