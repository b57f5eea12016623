"""Corpora as their owners publish them, fabricated: rows of our own in SPIRAL's, DREAM's and AudioBench's formats."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow
import soundfile
from lhotse import MonoCut
from pyarrow import parquet

from speechprune.data.cuts import read_cuts, validate_cuts


def wav_bytes(seconds: float, seed: int = 0, rate: int = 16_000) -> bytes:
    """A noisy wav in which speech-like bursts alternate with quiet."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    samples = 0.3 * rng.standard_normal(len(time)) * (np.sin(2 * np.pi * time) > -0.5)
    out = io.BytesIO()
    soundfile.write(out, np.clip(samples, -1, 1), rate, format="WAV", subtype="PCM_16")
    return out.getvalue()


def spiral_row(name: str = "lecture_0", **changes) -> dict:
    """One row; ``changes`` replace values by their dotted path, as in ``test_question.choices``."""
    sentences = ["Good morning, we talk about rivers.", "The gate is green.", "Yes.", "It was built in 1931, I read."]
    two = not name.startswith("lecture")
    turns = [("spk_1", [" ".join(sentences[:2])]), ("spk_2" if two else "spk_1", sentences[2:])]
    row = {
        "transcript": [{"speaker": speaker, "text": text} for speaker, text in turns],
        "original_key_sentence": sentences[3],
        "test_question": {
            "question": "When was the gate built?",
            "choices": ["A. 1913", "B. 1931", "C. 1963", "D. 1936"],
            "correct_answer": "B. 1931",
        },
        "metadata": {"main_topic": "History", "subtopic": "Gates", "id": name, "transcript_type": name.split("_")[0]},
        "audio_data": {
            "key_sentences": {
                "speaker": turns[1][0],
                "text": sentences[3],
                "audio_file": f"{name}_key.wav",
                "indices": [3, 4],
                "audio_dir": "spiral/key_wavs",
            },
            "combined": {
                "audio_files": [f"{name}.wav"],
                "audio_folder": "spiral/wavs",
                "prompts_used": {"spk_1": "/x/train_100/8051_F.wav"}
                | ({"spk_2": "/x/train_100/26_M.wav"} if two else {}),
                "sentences": sentences,
            },
        },
    }
    for path, value in changes.items():
        *way, last = path.split("__")
        place = row
        for key in way:
            place = place[key]
        place[last] = value
    return row


def write_spiral(folder: Path, rows: list[dict], hard: tuple[str, ...] = (), wav_seconds: float | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, kept in (("data.jsonl", rows), ("data_h.jsonl", [r for r in rows if r["metadata"]["id"] in hard])):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in kept))
    if wav_seconds is not None:
        (folder / "wavs").mkdir(exist_ok=True)
        for k, row in enumerate(rows):
            (folder / "wavs" / f"{row['metadata']['id']}.wav").write_bytes(wav_bytes(wav_seconds, k))
    return folder


def dream_dialogue(name: str = "5-12", turns: list[str] | None = None, **question) -> list:
    asked = {"question": "Who is late?", "choice": ["The man.", "The woman.", "Nobody."], "answer": "The man."}
    return [turns or ["M: Sorry, I am late.", "W: Never mind."], [asked | question], name]


def audiobench_row(audio: bytes | None, **changes) -> dict:
    row = {
        "context": {"bytes": audio, "path": "clip.wav"},
        "instruction": "Who is late?",
        "choices": "(A) The man.\n(B) The woman.\n(C) Nobody.",
        "answer": "(B) The woman.",
        "other_attributes": "{}",
    }
    return row | changes


def write_parquet(path: Path, rows: list[dict], **options) -> Path:
    """AudioBench's schema; ``options`` go to pyarrow, such as row_group_size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    texts = [(name, pyarrow.string()) for name in ("instruction", "choices", "answer", "other_attributes")]
    parquet.write_table(pyarrow.Table.from_pylist(rows, pyarrow.schema([("context", audio), *texts])), path, **options)
    return path


def gaokao_line(
    name: str = "short_conv_1", audio: str | None = None, prompt: str | None = None, answer: str = "B"
) -> str:
    prompt = prompt or "Where are they? A. At home; B. In a shop; C. In Washington D.C."
    return f"{name}\t{audio or f'gaokao_audio/{name}.wav'}\t111111\t{prompt}\t{answer}\tTrue\n"


GAOKAO_HEADER = "id\taudio\tn_frames\tprompt\ttgt_text\twith_speech\n"


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def cuts_of(folder: Path) -> dict[str, MonoCut]:
    """The cuts of a prepared set by id; they keep the contract."""
    cuts = list(read_cuts(folder / "cuts.jsonl.gz", problems := []))
    assert problems == []
    assert validate_cuts(cuts) == []
    return {cut.id: cut for cut in cuts}


def problems_of(data: Path, name: str = "test") -> str:
    return (data / name / "problems.txt").read_text()
