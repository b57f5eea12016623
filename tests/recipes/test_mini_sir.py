"""The mini_sir corpus: what its documentation promises."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from speechprune.recipes import mini_sir

from speechprune.construction import grammar
from speechprune.data.corpora import corpora, corpus_function
from speechprune.data.cuts import read_cuts

NAMES = ("test", "dev", "train", "train_text")


@pytest.fixture
def small(monkeypatch):
    """The corpus with three recordings a set."""
    for name, split in mini_sir.SETS.items():
        monkeypatch.setitem(mini_sir.SETS, name, replace(split, recordings=3))


@pytest.fixture
def prepared(tmp_path, small):
    mini_sir.download_mini_sir(tmp_path / "raw", ["test", "train_text"])
    return mini_sir.prepare_mini_sir(tmp_path / "raw", tmp_path / "data", ["test", "train_text"])


def _facts(name: str, count: int) -> set[tuple]:
    scripts = (mini_sir.write_script(name, i) for i in range(count))
    return {(q["kind"], *q["keywords"], q["choices"][q["answer"]]) for s in scripts for q in s["questions"]}


def test_found_by_discovery():
    assert "mini_sir" in corpora()
    assert corpus_function("prepare", "mini_sir") is mini_sir.prepare_mini_sir
    with pytest.raises(ValueError, match=r"unknown corpus 'timit'; choose from: .*mini_sir"):
        corpus_function("prepare", "timit")


def test_splits_share_no_fact_and_no_voice():
    facts = [_facts(name, 60) for name in ("test", "dev", "train")]
    assert all(len(f) > 100 for f in facts)
    for a, b in itertools.combinations(facts, 2):
        assert not a & b
    voices = [set(mini_sir.SETS[name].voices.split()) for name in ("test", "dev", "train")]
    for a, b in itertools.combinations(voices, 2):
        assert not a & b


def test_scripts_are_those_that_were_published():
    """Another word in the grammar would be another corpus: every score and the mini model are of this one."""
    total = hashlib.sha256()
    for name in NAMES:
        for i in range(20):
            total.update(json.dumps(mini_sir.write_script(name, i)).encode())
    assert total.hexdigest()[:16] == "13bc6b7f15983bf9"


def test_letters_are_balanced_and_choices_differ():
    questions = [q for i in range(80) for q in mini_sir.write_script("test", i)["questions"]]
    assert len(questions) == 400
    assert Counter(q["answer"] for q in questions) == {0: 100, 1: 100, 2: 100, 3: 100}
    assert all(len(set(q["choices"])) == 4 for q in questions)


def test_every_question_has_distractors_of_its_kind_in_the_recording():
    """Two other facts of the kind are said, with two of the wrong choices as their values."""
    for i in range(20):
        script = mini_sir.write_script("test", i)
        said = " ".join(t["text"] for t in script["turns"] if t["fact"] is not None)
        for q in script["questions"]:
            wrong = [c for k, c in enumerate(q["choices"]) if k != q["answer"]]
            assert sum(f" {c}" in said for c in wrong) >= 2


def test_key_sentence_says_the_answer_and_may_be_anywhere():
    places = []
    for i in range(60):
        script = mini_sir.write_script("test", i)
        order = [t["fact"] for t in script["turns"]]
        for q in script["questions"]:
            text = script["turns"][order.index(q["fact"])]["text"]
            assert text.rstrip(".").endswith(q["choices"][q["answer"]])
            assert all(word in text for word in q["keywords"])
            places.append(order.index(q["fact"]) / len(order))
    share, _ = np.histogram(places, bins=4, range=(0, 1))
    assert share.min() > 0.15 * len(places)


def test_same_seed_same_bytes_whatever_the_jobs(tmp_path, small):
    """Wavs and scripts of 1 and 2 processes; another seed differs."""

    def digest(folder, **options):
        mini_sir.download_mini_sir(folder, ["test"], **options)
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        return [(p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files]

    first = digest(tmp_path / "a", nj=1)
    assert len(first) == 6
    assert first == digest(tmp_path / "b", nj=2)
    assert first != digest(tmp_path / "c", seed=1)


def test_finished_recordings_are_kept(tmp_path, small):
    mini_sir.download_mini_sir(tmp_path, ["test"])
    scripts = sorted((tmp_path / "test" / "scripts").iterdir())
    before = [p.stat().st_mtime_ns for p in scripts]
    scripts[1].unlink()
    mini_sir.download_mini_sir(tmp_path, ["test"])
    after = [p.stat().st_mtime_ns for p in scripts]
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] > before[1]


def test_cuts_keep_the_contract_and_evidence_is_where_the_sentence_is(prepared, tmp_path):
    problems = []
    cuts = list(read_cuts(tmp_path / "data" / "test" / "cuts.jsonl.gz", problems))
    assert not problems
    assert [c.id for c in cuts] == ["test-0000", "test-0001", "test-0002"]
    for cut in cuts:
        samples, rate = soundfile.read(cut.recording.sources[0].source)
        assert rate == 16_000
        assert 55 < len(samples) / rate < 125
        speakers = {s.speaker for s in cut.supervisions}
        low, high = grammar.SPEAKERS[cut.custom["scenario"]]
        assert low <= len(speakers) <= high
        for question in cut.custom["questions"]:
            span = question["evidence"][0]
            sentence = next(s for s in cut.supervisions if s.start == span["start"])
            assert question["choices"][question["answer"]] in sentence.text
            for other in question["distractors"]:
                said = next(s for s in cut.supervisions if s.start == other["start"]).text
                assert question["choices"][question["answer"]] not in said
                assert any(choice in said for choice in question["choices"])
            inside = samples[int(span["start"] * rate) : int((span["start"] + span["duration"]) * rate)]
            assert np.sqrt((inside**2).mean()) > 0.01


def test_text_set_has_times_without_sound(prepared):
    for cut in prepared["train_text"]:
        assert cut.recording is None
        assert all(s.alignment["word"] for s in cut.supervisions)
        assert cut.supervisions[-1].end <= cut.duration


def test_unknown_set_and_missing_scripts_are_named(tmp_path):
    with pytest.raises(ValueError, match="no set 'eval'; choose from: test, dev, train, train_text"):
        mini_sir.download_mini_sir(tmp_path, ["eval"])
    with pytest.raises(FileNotFoundError, match="stage 0"):
        mini_sir.prepare_mini_sir(tmp_path, tmp_path / "data", ["test"])
