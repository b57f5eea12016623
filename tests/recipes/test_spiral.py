"""The spiral recipe on raw trees in SPIRAL's format."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.raw_corpora import cuts_of, problems_of, snapshot, spiral_row, wav_bytes, write_spiral
from speechprune.recipes import spiral

from speechprune.scoring.stage import write_results

THREE = ("lecture_0", "conversation_1", "meeting_2")


@pytest.fixture
def raw(tmp_path):
    return write_spiral(tmp_path / "raw", [spiral_row(name) for name in THREE], hard=("meeting_2",))


def test_spoken_transcripts(raw, tmp_path):
    before = snapshot(raw)
    made = spiral.prepare_spiral(raw, tmp_path / "data", ["test", "test_h"], tts="espeak")
    assert snapshot(raw) == before
    cuts = cuts_of(tmp_path / "data" / "test")
    assert list(cuts) == [f"test-{name}" for name in THREE]
    assert [cut.id for cut in made["test_h"]] == ["test-meeting_2"]
    assert {name: cut.custom["hard"] for name, cut in cuts.items()} == {f"test-{n}": n == "meeting_2" for n in THREE}
    talk = cuts["test-conversation_1"]
    assert [s.gender for s in talk.supervisions] == ["F", "F", "M", "M"]
    assert len({s.custom["voice"] for s in talk.supervisions}) == 2
    assert (talk.custom["scenario"], talk.custom["topic"], talk.custom["resynthesised"]) == (
        "conversation",
        "History",
        "espeak",
    )
    (question,) = talk.custom["questions"]
    assert question["choices"] == ["1913", "1931", "1963", "1936"]
    assert question["answer"] == 1
    assert question["evidence_method"] == "synthesis (espeak)"
    key = talk.supervisions[3]
    assert key.text == "It was built in 1931, I read."
    assert question["evidence"] == [{"start": key.start, "duration": pytest.approx(key.duration, abs=1e-3)}]
    samples, rate = soundfile.read(talk.recording.sources[0].source)
    assert rate == 16_000
    assert np.abs(samples[int(key.start * rate) : int(key.end * rate)]).max() > 0.05
    assert [item.symbol for item in key.alignment["word"]] == key.text.split()


def test_the_same_bytes_twice_and_nothing_done_twice(raw, tmp_path):
    spiral.prepare_spiral(raw, tmp_path / "a", tts="espeak")
    first = snapshot(tmp_path / "a" / "test" / "wav")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*.wav")}
    (tmp_path / "a" / "test" / "wav" / "test-lecture_0.wav").unlink()
    spiral.prepare_spiral(raw, tmp_path / "a", tts="espeak")
    assert snapshot(tmp_path / "a" / "test" / "wav") == first
    assert [p.name for p, t in times.items() if p.stat().st_mtime_ns != t] == ["test-lecture_0.wav"]


def test_a_changed_row_is_made_again(raw, tmp_path):
    spiral.prepare_spiral(raw, tmp_path / "a", tts="espeak")
    write_spiral(raw, [spiral_row("lecture_0", test_question__question="Why?")])
    spiral.prepare_spiral(raw, tmp_path / "a", tts="espeak")
    (cut,) = cuts_of(tmp_path / "a" / "test").values()
    assert cut.custom["questions"][0]["question"] == "Why?"


def test_recordings_at_hand_are_aligned_by_estimate(tmp_path):
    raw = write_spiral(tmp_path / "raw", [spiral_row()], wav_seconds=8)
    spiral.prepare_spiral(raw, tmp_path / "data")
    (cut,) = cuts_of(tmp_path / "data" / "test").values()
    assert cut.recording.sources[0].source == str(raw / "wavs" / "lecture_0.wav")
    assert cut.custom["questions"][0]["evidence_method"].startswith("estimate")
    assert "resynthesised" not in cut.custom
    (span,) = cut.custom["questions"][0]["evidence"]
    assert span["start"] > 3
    assert not list((tmp_path / "data").rglob("*.wav"))


def test_published_ids_and_counts(tmp_path, raw):
    count = sum(last + 1 - len(without.split()) for last, without in spiral.NUMBERS.values())
    assert (count, spiral.HARD) == (1012, 401)
    spiral.prepare_spiral(raw, tmp_path / "data", tts="espeak")
    text = problems_of(tmp_path / "data")
    assert "data.jsonl: missing rows: 1009: conversation_0, conversation_2, " in text
    assert "data_h.jsonl: rows: 1, expected 401, as published" in text


def test_odd_rows_are_named(tmp_path):
    rows = [spiral_row("lecture_0"), spiral_row("lecture_999")]
    raw = write_spiral(tmp_path / "raw", rows)
    (raw / "data_h.jsonl").write_text(json.dumps(spiral_row("lecture_5")) + "\n")
    spiral.prepare_spiral(raw, tmp_path / "data", tts="espeak")
    text = problems_of(tmp_path / "data")
    assert "data.jsonl: rows that the published set has not: 1: lecture_999, expected none" in text
    assert "data_h.jsonl: rows that data.jsonl has not: 1: lecture_5, expected none" in text


BAD = {
    "answer not among choices": (
        {"test_question__correct_answer": "B. 1932"},
        "answer 'B. 1932' is not among the choices",
    ),
    "letter alone is another's": ({"test_question__correct_answer": "E"}, "answer 'E' is not among the choices"),
    "choices without a letter": ({"test_question__choices": ["A. 1", "2", "C. 3", "D. 4"]}, "choice B is missing"),
    "choices repeated": ({"test_question__choices": ["A. 1", "B. 1931", "C. 1", "D. 4"]}, "choices that differ"),
    "no choices": ({"test_question__choices": []}, "choice A is missing"),
    "indices outside": ({"audio_data__key_sentences__indices": [3, 9]}, r"indices \[3, 9\] .* in 0 to 4"),
    "indices backwards": ({"audio_data__key_sentences__indices": [3, 3]}, r"indices \[3, 3\]"),
    "indices of words": ({"audio_data__key_sentences__indices": ["3", "4"]}, "not as SPIRAL writes it: TypeError"),
    "another key sentence": (
        {"audio_data__key_sentences__indices": [0, 1]},
        "sentences 0 to 0 are not the key sentence",
    ),
    "sentences of another talk": (
        {"audio_data__combined__sentences": ["a", "b", "c", "d"]},
        "differ from the transcript",
    ),
    "no sentences": ({"audio_data__combined": {}}, "not as SPIRAL writes it: KeyError"),
    "an empty question": ({"test_question__question": " "}, r"questions\[0\].question: .*expected a non-empty text"),
    "an id that leads out": ({"metadata__id": "../../x"}, r"id: test-\.\./\.\./x, expected letters, digits"),
    "an id of two lines": ({"metadata__id": "a\nb"}, r"id: test-a\\nb, expected"),
    "an id that is no text": ({"metadata__id": 7}, "a JSON object with metadata.id"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_named_and_left_out(case, tmp_path):
    changes, message = BAD[case]
    raw = write_spiral(tmp_path / "raw", [spiral_row("lecture_0"), spiral_row("lecture_1", **changes)])
    spiral.prepare_spiral(raw, tmp_path / "work" / "data", tts="espeak")
    assert list(cuts_of(tmp_path / "work" / "data" / "test")) == ["test-lecture_0"]
    lines = [line for line in problems_of(tmp_path / "work" / "data").splitlines() if line.startswith("data.jsonl:2")]
    assert len(lines) == 1
    assert re.search(message, lines[0]), lines[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw", "work"]
    assert sorted(p.name for p in (tmp_path / "work").iterdir()) == ["data"]


def test_duplicate_ids(tmp_path):
    raw = write_spiral(tmp_path / "raw", [spiral_row("lecture_0"), spiral_row("lecture_0")])
    spiral.prepare_spiral(raw, tmp_path / "data", tts="espeak")
    assert len(cuts_of(tmp_path / "data" / "test")) == 1
    assert "data.jsonl:2: id: test-lecture_0, expected an id that no other recording has" in problems_of(
        tmp_path / "data"
    )


def test_lines_that_are_no_rows(raw, tmp_path):
    with (raw / "data.jsonl").open("ab") as file:
        file.write(b'{"metadata": {"id": "caf\xe9"}}\n' + b"[1]\n" + b'{"metadata": {"id": "lecture_9"')
    spiral.prepare_spiral(raw, tmp_path / "data", tts="espeak")
    assert len(cuts_of(tmp_path / "data" / "test")) == 3
    text = problems_of(tmp_path / "data")
    assert "data.jsonl:4: line:" in text
    assert "expected UTF-8 text" in text
    assert "data.jsonl:5: row:" in text
    assert "data.jsonl:6: row:" in text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lecture_1.wav", "no such file: .*wavs/lecture_1.wav"),
        ("../../secret.wav", "file name '../../secret.wav', expected one that stays inside"),
        ("/etc/passwd", "file name '/etc/passwd', expected one that stays inside"),
        ("..\\..\\secret.wav", "expected one that stays inside"),
        ("text.wav", "text.wav: not audio that libsndfile reads"),
        ("short.wav", r"short.wav: 0.5 s long, expected at least 1.\d s for the 1\d words of its transcript"),
        ("empty.wav", "empty.wav"),
    ],
)
def test_bad_recordings(name, message, tmp_path):
    rows = [spiral_row("lecture_0"), spiral_row("lecture_1", audio_data__combined__audio_files=[name])]
    raw = write_spiral(tmp_path / "a" / "raw", rows, wav_seconds=8)
    (raw / "wavs" / "lecture_1.wav").unlink()
    (raw / "wavs" / "text.wav").write_text("no audio")
    (raw / "wavs" / "short.wav").write_bytes(wav_bytes(0.5))
    (raw / "wavs" / "empty.wav").write_bytes(wav_bytes(0))
    (tmp_path / "secret.wav").write_bytes(wav_bytes(8))
    before = snapshot(tmp_path)
    spiral.prepare_spiral(raw, tmp_path / "data")
    assert list(cuts_of(tmp_path / "data" / "test")) == ["test-lecture_0"]
    (line,) = [line for line in problems_of(tmp_path / "data").splitlines() if line.startswith("data.jsonl:2")]
    assert re.search(message, line), line
    assert {k: v for k, v in snapshot(tmp_path).items() if not k.startswith("data")} == before


def test_a_replaced_recording_is_aligned_again(tmp_path):
    raw = write_spiral(tmp_path / "raw", [spiral_row()], wav_seconds=8)
    spiral.prepare_spiral(raw, tmp_path / "data")
    (raw / "wavs" / "lecture_0.wav").write_bytes(wav_bytes(20))
    spiral.prepare_spiral(raw, tmp_path / "data")
    assert cuts_of(tmp_path / "data" / "test")["test-lecture_0"].duration == 20


def test_without_recordings_it_says_what_to_fetch(raw, tmp_path):
    for call in (lambda: spiral.download_spiral(raw), lambda: spiral.prepare_spiral(raw, tmp_path / "data")):
        with pytest.raises(
            (ValueError, FileNotFoundError), match=r"duke\.box\.com(.|\n)*lecture_0\.wav(.|\n)*--tts espeak"
        ):
            call()
    assert spiral.download_spiral(raw, tts="espeak") == raw


def test_unknown_names_and_missing_files(raw, tmp_path):
    with pytest.raises(ValueError, match="spiral has no set 'dev'; choose from: test, test_h"):
        spiral.prepare_spiral(raw, tmp_path, ["dev"])
    with pytest.raises(ValueError, match="unknown TTS engine 'none'; choose from: endpoint, espeak"):
        spiral.prepare_spiral(raw, tmp_path, tts="none")
    with pytest.raises(FileNotFoundError, match=r"data_h\.jsonl"):
        spiral.prepare_spiral(tmp_path / "nothing", tmp_path, tts="espeak")
    write_spiral(raw, [spiral_row("lecture_0", audio_data__combined={})])
    with pytest.raises(ValueError, match="not one usable recording; the first of"):
        spiral.prepare_spiral(raw, tmp_path / "data", tts="espeak")


def test_the_stock_lhotse_command_reads_the_cuts(raw, tmp_path):
    spiral.prepare_spiral(raw, tmp_path / "data", tts="espeak")
    words = [Path(sys.executable).parent / "lhotse", "cut", "describe", tmp_path / "data/test/cuts.jsonl.gz"]
    result = subprocess.run(words, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Cuts count:" in result.stdout
    assert " 3 " in result.stdout


def test_tables_say_that_the_speech_is_not_the_corpus_own(tmp_path):
    row = {"id": "test-lecture_0-q0", "recording": "test-lecture_0", "system": "original", "rate": None, "model": "m"}
    row |= {
        "prediction": "B",
        "answer": "B",
        "choice_logprobs": None,
        "tokens": 5,
        "evidence_recall": None,
        "error": None,
    }
    for name, extra in (("own", {}), ("spoken", {"resynthesised": "espeak"})):
        folder = tmp_path / name / "test" / "original"
        folder.mkdir(parents=True)
        (folder / "hyp.1.jsonl").write_text(json.dumps(row | extra) + "\n")
        write_results(folder.parent, "speechprune score")
    said = "Resynthesised** by espeak"
    assert said in (tmp_path / "spoken/test/RESULTS.md").read_text()
    assert said not in (tmp_path / "own/test/RESULTS.md").read_text()
    assert 'Constant letter "B"' in (tmp_path / "spoken/test/RESULTS.md").read_text()
