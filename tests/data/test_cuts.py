"""The cut contract: every promise, every way to break it, and files that stock Lhotse reads."""

from __future__ import annotations

import copy
import json
import math

import pytest
from helpers.fakes import make_cut
from hypothesis import given
from hypothesis import strategies as st
from lhotse import CutSet, MonoCut
from lhotse.qa import validate as lhotse_validate
from lhotse.supervision import AlignmentItem

from speechprune.data.cuts import read_cuts, validate_cut, validate_cuts, write_cuts


def broken(cut: MonoCut) -> list[str]:
    return [str(problem) for problem in validate_cut(cut)]


def test_a_good_cut_keeps_every_promise():
    cut = make_cut("test-0003", "x.wav")
    cut.supervisions[0].alignment = {"word": [AlignmentItem("bag", 0.6, 0.3)]}
    cut.custom["questions"].append({**cut.custom["questions"][0], "id": "test-0003-q1", "evidence": None, "hops": 2})
    assert broken(cut) == []
    assert validate_cuts([cut, make_cut("test-0004", "x.wav")]) == []
    lhotse_validate(cut)


QUESTION = "questions[0]"
BREAKS = {
    "answer above": (lambda c, q: q.update(answer=4), "questions[0].answer: 4, expected an index below 4"),
    "answer below": (lambda c, q: q.update(answer=-1), "questions[0].answer: -1, expected an index below 4"),
    "answer bool": (lambda c, q: q.update(answer=True), "questions[0].answer: True, expected an index"),
    "answer letter": (lambda c, q: q.update(answer="A"), "questions[0].answer: A, expected an index"),
    "answer absent": (lambda c, q: q.pop("answer"), "questions[0].answer: None, expected an index"),
    "one choice": (lambda c, q: q.update(choices=["red"]), "questions[0].choices: ['red'], expected a list of 2 to"),
    "11 choices": (lambda c, q: q.update(choices=[*"abcdefghijk"]), "expected a list of 2 to 10 texts"),
    "choices text": (lambda c, q: q.update(choices="red"), "questions[0].choices: red, expected a list"),
    "same choices": (lambda c, q: q.update(choices=["red", "red ", "b", "c"]), "expected choices that differ"),
    "empty choice": (lambda c, q: q.update(choices=["red", " ", "b", "c"]), "questions[0].choices[1]:  , expected"),
    "number choice": (lambda c, q: q.update(choices=["red", 2, "b", "c"]), "questions[0].choices[1]: 2, expected"),
    "no question": (lambda c, q: q.update(question=""), "questions[0].question: , expected a non-empty text"),
    "foreign id": (lambda c, q: q.update(id="test-0004-q0"), "expected test-0003-q<number>"),
    "id with slash": (lambda c, q: q.update(id="test-0003-q0/1"), "expected test-0003-q<number>"),
    "not an object": (lambda c, q: c.custom.update(questions=["?"]), "questions[0]: ?, expected an object"),
    "questions absent": (lambda c, q: c.custom.pop("questions"), "questions: None, expected a list"),
    "custom absent": (lambda c, q: setattr(c, "custom", None), "questions: None, expected a list"),
    "same question ids": (lambda c, q: c.custom.update(questions=[q, q]), "2 have the id 'test-0003-q0'"),
    "late evidence": (
        lambda c, q: q.update(evidence=[{"start": 4.0, "duration": 1.5}]),
        "questions[0].evidence[0]: ends at 5.500, expected at most 5.000",
    ),
    "early evidence": (lambda c, q: q["evidence"][0].update(start=-0.1), "evidence[0].start: -0.1, expected 0 or more"),
    "NaN evidence": (lambda c, q: q["evidence"][0].update(start=math.nan), "evidence[0].start: nan"),
    "void evidence": (lambda c, q: q["evidence"][0].update(duration=0), "evidence[0].duration: 0, expected above 0"),
    "empty evidence": (lambda c, q: q.update(evidence=[]), "questions[0].evidence: [], expected null, or a list"),
    "text evidence": (lambda c, q: q.update(evidence="1-2"), "questions[0].evidence: 1-2, expected null, or a list"),
    "blank in id": (lambda c, q: rename(c, "test 0003"), "id: test 0003, expected a non-empty printable text"),
    "slash in id": (lambda c, q: rename(c, "test/0003"), "id: test/0003, expected a non-empty printable text"),
    "empty id": (lambda c, q: rename(c, ""), "id: , expected a non-empty printable text"),
    "other recording": (lambda c, q: setattr(c.recording, "id", "x"), "recording.id: x, expected the cut's id"),
    "no recording": (lambda c, q: setattr(c, "recording", None), "recording: None, expected a recording"),
    "rate 0": (lambda c, q: setattr(c.recording, "sampling_rate", 0), "recording.sampling_rate: 0, expected above 0"),
    "no samples": (lambda c, q: setattr(c.recording, "num_samples", 0), "recording.num_samples: 0, expected above 0"),
    "samples and duration": (
        lambda c, q: setattr(c.recording, "num_samples", 16000),
        "recording.duration: 5.0, expected num_samples / sampling_rate = 1.000",
    ),
    "part of a recording": (lambda c, q: setattr(c, "duration", 3.0), "duration: 3.0, expected 5.000: a cut holds"),
    "late start": (lambda c, q: setattr(c, "start", 1.0), "start: 1.0, expected 0: a cut holds its whole recording"),
    "late sentence": (
        lambda c, q: setattr(c.supervisions[0], "start", 4.5),
        "supervisions[0]: ends at 6.000, expected at most 5.000",
    ),
    "void sentence": (lambda c, q: setattr(c.supervisions[0], "duration", 0.0), "supervisions[0].duration: 0.0"),
    "foreign sentence": (lambda c, q: setattr(c.supervisions[0], "recording_id", "x"), "supervisions[0].recording_id"),
    "same sentence": (lambda c, q: c.supervisions.append(c.supervisions[0]), "supervisions[1].id: test-0003-s0"),
    "speaker list": (lambda c, q: setattr(c.supervisions[0], "speaker", ["a"]), "supervisions[0].speaker: ['a']"),
    "number as text": (lambda c, q: setattr(c.supervisions[0], "text", 7), "supervisions[0].text: 7"),
    "number as sex": (lambda c, q: setattr(c.supervisions[0], "gender", 7), "supervisions[0].gender: 7"),
    "late word": (
        lambda c, q: setattr(c.supervisions[0], "alignment", {"word": [AlignmentItem("bag", 4.9, 0.3)]}),
        "supervisions[0].alignment.word[0]: ['bag', 4.9, 0.3, None], expected a word inside the recording",
    ),
}


def rename(cut: MonoCut, name: str) -> None:
    cut.id = cut.recording.id = cut.supervisions[0].recording_id = name
    cut.custom["questions"][0]["id"] = f"{name}-q0"


@pytest.mark.parametrize("name", BREAKS)
def test_one_broken_promise_gives_one_problem(name):
    change, message = BREAKS[name]
    cut = make_cut("test-0003", "x.wav")
    change(cut, cut.custom["questions"][0])
    found = broken(cut)
    assert len(found) == 1, found
    assert message in found[0]
    assert found[0].startswith(f"{cut.id}: ")


def test_validate_cuts_finds_what_two_cuts_share():
    first, second = make_cut("test-0001", "x.wav"), make_cut("test-0002", "x.wav")
    second.custom["questions"][0]["id"] = "test-0001-q0"
    found = [str(problem) for problem in validate_cuts([first, second, first])]
    assert found == [
        "test-0002: questions[0].id: test-0001-q0, expected test-0002-q<number>",
        "test-0002: questions[0].id: test-0001-q0, expected an id that no other cut has (test-0001 has it)",
        "test-0001: id: test-0001, expected an id that no other cut has",
    ]


GOOD = make_cut("test-0003", "x.wav").to_dict()


def paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*path, key))


JUNK = st.sampled_from(
    [None, 0, -1, 1e400, math.nan, True, "", " ", "a/b\n", [], {}, [[]], [{}], {"a": None}, "é" * 99]
)


@given(st.sampled_from([path for path in paths(GOOD) if path]), JUNK)
def test_no_junk_makes_the_reader_or_the_validator_raise(tmp_path_factory, path, junk):
    data = copy.deepcopy(GOOD)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = junk
    file = tmp_path_factory.mktemp("junk") / "cuts.jsonl"
    file.write_text(json.dumps(data) + "\n")
    problems = []
    for cut in read_cuts(file, problems):
        problems += validate_cuts([cut])
    for problem in problems:
        assert "\n" not in str(problem)


# Files


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_stock_lhotse_reads_what_write_cuts_wrote(tmp_path, name):
    cuts = [make_cut(f"test-{i:04}", "x.wav") for i in range(3)]
    cuts[1].custom["questions"][0]["evidence"] = None
    cuts[2].supervisions[0].text = "Größe 你好"
    path = tmp_path / "data" / "test" / name
    assert write_cuts(path, cuts) == 3
    assert list(CutSet.from_jsonl_lazy(path)) == cuts
    problems = []
    assert list(read_cuts(path, problems)) == cuts
    assert problems == []
    assert list(read_cuts(path.parent, problems)) == cuts


def test_read_cuts_reads_what_lhotse_wrote(tmp_path):
    cuts = [make_cut(f"test-{i:04}", "x.wav") for i in range(3)]
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    assert list(read_cuts(tmp_path / "cuts.jsonl.gz", [])) == cuts


def test_the_same_cuts_give_the_same_bytes(tmp_path, monkeypatch):
    cuts = [make_cut(f"test-{i:04}", "x.wav") for i in range(3)]
    write_cuts(tmp_path / "a.jsonl.gz", cuts)
    monkeypatch.setattr("time.time", lambda: 0.0)
    write_cuts(tmp_path / "b.jsonl.gz", cuts)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_write_cuts_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "cuts.jsonl.gz"
    write_cuts(path, [make_cut("test-0000", "x.wav")])
    before = path.read_bytes()

    def cuts():
        yield make_cut("test-0001", "x.wav")
        raise KeyError

    with pytest.raises(KeyError):
        write_cuts(path, cuts())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["cuts.jsonl.gz"]


def test_write_cuts_refuses_another_ending(tmp_path):
    with pytest.raises(ValueError, match=r"cuts\.json: expected a name that ends in \.jsonl or \.jsonl\.gz"):
        write_cuts(tmp_path / "cuts.json", [])


def test_a_folder_is_read_in_the_order_of_its_files(tmp_path):
    for job in (2, 1):
        write_cuts(tmp_path / f"cuts.{job}.jsonl", [make_cut(f"test-{job}", "x.wav")])
    write_cuts(tmp_path / "cuts.3.jsonl.gz", [make_cut("test-3", "x.wav")])
    write_cuts(tmp_path / "other.jsonl", [make_cut("test-4", "x.wav")])
    assert [cut.id for cut in read_cuts(tmp_path, [])] == ["test-1", "test-2", "test-3"]


def test_missing_cuts_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file: .*absent"):
        list(read_cuts(tmp_path / "absent.jsonl", []))
    with pytest.raises(FileNotFoundError, match=r"no cuts\*\.jsonl or cuts\*\.jsonl\.gz in "):
        list(read_cuts(tmp_path, []))


def test_broken_lines_are_named_and_the_rest_is_read(tmp_path):
    path = tmp_path / "cuts.jsonl"
    write_cuts(path, [make_cut(f"test-{i}", "x.wav") for i in range(3)])
    lines = path.read_text().splitlines()
    lines[1] = lines[1][:100]
    lines[1:1] = ['{"type": "MixedCut"}', '{"type": "MonoCut", "id": "a"}', '{"id": "sentence"}', '{"type": "MonoCut"}']
    path.write_text("\n".join(lines))
    problems = []
    assert [cut.id for cut in read_cuts(path, problems)] == ["test-0", "test-2"]
    found = [str(problem) for problem in problems]
    assert found[0] == f"{path}:2: type: MixedCut, expected MonoCut"
    assert found[1].startswith(f"{path}:3: MonoCut: TypeError: ")
    assert found[2] == f"{path}:4: type: None, expected MonoCut"
    assert found[3] == f"{path}:5: id: None, expected a text"
    assert found[4].startswith(f"{path}:6: line: {{")
    assert "expected a JSON object" in found[4]
    assert len(found) == 5
