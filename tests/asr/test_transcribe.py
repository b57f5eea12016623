"""`speechprune transcribe`: a line a recording, stopped and taken up, nothing stale, jobs that share the work."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner
from helpers.fakes import in_child, make_cut, rows
from helpers.tiny_whisper import sound

from speechprune.asr import Transcriber, WordErrors
from speechprune.asr.kept import read_transcripts
from speechprune.asr.stage import transcribe_cuts
from speechprune.cli import main
from speechprune.common.files import Shard
from speechprune.data.cuts import write_cuts
from speechprune.decoding.progress import count_transcripts

SAID = {"test-0": "red blue", "test-1": "green", "test-2": "blue red"}


@pytest.fixture
def cuts(tmp_path) -> Path:
    """Three recordings whose supervisions say what is heard, but for one word of the last."""
    return write_set(tmp_path, SAID | {"test-2": "blue green"})


def write_set(folder: Path, texts: dict[str, str]) -> Path:
    made = []
    for seed, (name, words) in enumerate(SAID.items()):
        samples = sound(words, 2.0, seed)
        if not (folder / f"{name}.wav").exists():
            soundfile.write(folder / f"{name}.wav", samples, 16_000)
        cut = make_cut(name, folder / f"{name}.wav", samples=len(samples))
        cut.supervisions[0].text = texts[name]
        made.append(cut)
    write_cuts(folder / "cuts.jsonl.gz", made)
    return folder / "cuts.jsonl.gz"


class Ears:
    """Loads a transcriber that counts what it hears; ``before(number)`` is called before each recording."""

    def __init__(self, before=lambda number: None, batch: int = 1) -> None:
        self.heard, self._before, self._batch = 0, before, batch

    def __call__(self, folder) -> Ears:
        self._transcriber, self.batch = Transcriber(folder, "cpu"), self._batch
        return self

    def transcribe(self, recordings):
        for _ in recordings:
            self._before(self.heard)
            self.heard += 1
        return self._transcriber.transcribe(recordings)


def run(cuts: Path, folder: Path, ears: Ears, job: str = "1/1"):
    out = cuts.parent / "out" / "transcripts.jsonl"
    return transcribe_cuts(cuts, out, str(folder), ears, Shard.parse(job), progress=False), out


def test_a_line_a_recording_in_the_order_of_the_cuts(cuts, folder):
    summary, out = run(cuts, folder, Ears(batch=2))
    assert [(row["recording"], row["text"], row["errors"], row["words"]) for row in rows(out)] == [
        ("test-0", "red blue", 0, 2),
        ("test-1", "green", 0, 1),
        ("test-2", "blue red", 1, 2),
    ]
    assert (summary.done, summary.failed, summary.counted, summary.whole) == (3, 0, WordErrors(1, 5), True)
    assert str(summary).endswith("3 transcribed, 0 there already, 0 failed; WER 20.00 % (1 errors in 5 words)")
    first = read_transcripts(out)["test-0"]
    assert (first.text, first.model, first.duration, first.counted) == (
        "red blue",
        "tiny-whisper",
        6.0,
        WordErrors(0, 2),
    )
    assert first.seconds > 0
    again, _ = run(cuts, folder, ears := Ears())
    assert (ears.heard, again.done, again.skipped) == (0, 0, 3)


def test_a_killed_run_goes_on_where_it_was(cuts, folder):
    def kill(number: int) -> None:
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(lambda: run(cuts, folder, Ears(kill)))[0] == signal.SIGKILL
    out = cuts.parent / "out" / "transcripts.jsonl"
    assert not out.exists()  # what is not whole is not there
    assert str(count_transcripts(cuts, out, str(folder))) == "2/3 recordings"
    summary, _ = run(cuts, folder, ears := Ears())
    assert (ears.heard, summary.done, summary.skipped) == (1, 1, 2)
    assert [row["text"] for row in rows(out)] == list(SAID.values())


def test_other_samples_or_another_model_are_heard_anew_and_other_words_counted_anew(cuts, folder, tmp_path):
    _, out = run(cuts, folder, Ears())
    soundfile.write(tmp_path / "test-1.wav", sound("red", 2.0), 16_000)
    summary, _ = run(cuts, folder, ears := Ears())
    assert (ears.heard, rows(out)[1]["text"], summary.counted) == (1, "red", WordErrors(2, 5))
    write_set(tmp_path, SAID | {"test-1": "red"})  # what the cuts say is counted, and nothing heard
    summary, _ = run(cuts, folder, ears := Ears())
    assert (ears.heard, summary.counted, rows(out)[1]["errors"]) == (0, WordErrors(0, 5), 0)
    other = shutil.copytree(folder, tmp_path / "other-whisper")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"dropout": 0.1}))
    summary, _ = run(cuts, other, ears := Ears())
    assert (ears.heard, {row["model"] for row in rows(out)}) == (3, {"other-whisper"})


def test_moved_files_of_the_same_samples_are_not_heard_again(cuts, folder, tmp_path):
    run(cuts, folder, Ears())
    os.utime(tmp_path / "test-0.wav", (1, 1))
    summary, _ = run(cuts, folder, ears := Ears())
    assert (ears.heard, summary.skipped) == (0, 3)


def test_a_failing_recording_is_a_line_with_an_error_and_tried_again(cuts, folder, tmp_path):
    (tmp_path / "test-1.wav").write_bytes(b"no sound")
    summary, out = run(cuts, folder, Ears(batch=3))
    assert (summary.done, summary.failed, summary.whole) == (2, 1, True)
    error = rows(out)[1]
    assert "text" not in error
    assert "test-1.wav: not audio" in error["error"]
    assert read_transcripts(out)["test-1"].text is None
    assert str(count_transcripts(cuts, out, str(folder))) == "3/3 recordings, 1 failed"
    soundfile.write(tmp_path / "test-1.wav", sound("green", 2.0, 1), 16_000)
    summary, _ = run(cuts, folder, ears := Ears())
    assert (ears.heard, summary.failed, rows(out)[1]["text"]) == (1, 0, "green")


def test_one_that_fails_among_others_takes_none_with_it(cuts, folder):
    class Deaf(Ears):
        def transcribe(self, recordings):
            if any(len(samples) == 2 * 16_000 for samples in recordings):
                raise RuntimeError("out of ears")
            return super().transcribe(recordings)

    summary, out = run(cuts, folder, Deaf(batch=3))
    assert [row.get("text") for row in rows(out)] == ["red blue", None, "blue red"]
    assert rows(out)[1]["error"] == "RuntimeError: out of ears"
    assert summary.failed == 1


def test_jobs_share_the_recordings_and_the_last_one_writes_the_file(cuts, folder):
    _, out = run(cuts, folder, Ears())
    wanted = [(row["recording"], row["text"], row["errors"]) for row in rows(out)]
    shutil.rmtree(out.parent)
    first, _ = run(cuts, folder, Ears(), "2/2")
    assert (first.done, first.whole, out.exists()) == (1, False, False)
    second, _ = run(cuts, folder, Ears(), "1/2")
    assert (second.done, second.whole) == (2, True)
    assert [(row["recording"], row["text"], row["errors"]) for row in rows(out)] == wanted
    assert run(cuts, folder, ears := Ears())[0].skipped == 3  # another number of jobs
    assert ears.heard == 0


def test_the_command(cuts, folder, tmp_path):
    out = tmp_path / "transcripts.jsonl"
    result = CliRunner().invoke(main, ["transcribe", str(cuts), str(out), "--asr", str(folder), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert [row["text"] for row in rows(out)] == list(SAID.values())
    told = CliRunner().invoke(main, ["progress", "transcribe", str(cuts), str(out), "--asr", str(folder)])
    assert told.output == "3/3 recordings\n"
    wrong = CliRunner().invoke(main, ["transcribe", str(cuts), str(tmp_path / "out.txt"), "--asr", str(folder)])
    assert wrong.exit_code == 1
    assert "expected a name that ends in .jsonl" in wrong.output


def test_files_that_are_no_transcripts_are_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"recording": "x", "model": "m"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl: x: no line of transcripts"):
        read_transcripts(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text("broken\n")
    with pytest.raises(ValueError, match="write the file again with: speechprune transcribe"):
        read_transcripts(tmp_path / "a.jsonl")
