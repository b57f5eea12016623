"""Helpers for the tests of stage 3: a few short recordings with questions, a tiny model, decode and its rows."""

from __future__ import annotations

from pathlib import Path

import soundfile
import torch
import yaml
from helpers.fakes import make_cut, speechlike
from helpers.tiny import make_tiny_qwen2_audio
from lhotse import MonoCut

from speechprune import SpeechLLM
from speechprune.common.files import Shard
from speechprune.data.cuts import write_cuts
from speechprune.decoding.answering import Answerer
from speechprune.decoding.hypotheses import read_hypotheses
from speechprune.decoding.stage import DecodeSummary, decode
from speechprune.decoding.systems import DecodeConfig, System, load_config
from speechprune.features.extract import extract_features

torch.set_num_threads(1)  # tests fork, and the machine may be shared

RECORDING = "test-0000"
WINDOW = 40  # audio tokens that count as the tiny model's ordinary input, so that seconds of audio are long
SECONDS = (4.0, 3.0, 5.0, 1.2)  # 100, 75, 125 and 30 tokens
CONFIG = {
    "rates": [0.2, 0.6],
    "systems": [
        "original",
        "full",
        "rap",
        {"method": "speechprune", "rates": [0.4]},
        {"name": "silence", "method": "full", "audio": "silence"},
    ],
}


def questions(recording: str) -> list[dict]:
    """Three questions of different lengths, two to four choices, the last without evidence."""
    texts = (
        ("What colour is the bag?", ["red", "blue", "green", "black"], [{"start": 0.4, "duration": 0.6}]),
        (
            "Who spoke first, after all those people had come in and sat down?",
            ["Anna", "Ben"],
            [{"start": 0.0, "duration": 0.3}],
        ),
        ("How many?", ["one", "two", "three"], None),
    )
    return [
        {"id": f"{recording}-q{k}", "question": text, "choices": choices, "answer": k % 2, "evidence": evidence}
        for k, (text, choices, evidence) in enumerate(texts)
    ]


def make_recordings(folder: Path, seconds: tuple[float, ...] = SECONDS) -> list[MonoCut]:
    """Cuts test-0000, ... with their wavs in ``folder``."""
    cuts = []
    for i, duration in enumerate(seconds):
        path = folder / f"test-{i:04}.wav"
        soundfile.write(path, speechlike(duration, i), 16000, subtype="FLOAT")
        cut = make_cut(path.stem, path, duration)
        cut.supervisions = []
        cut.custom["questions"] = questions(cut.id)
        cuts.append(cut)
    return cuts


def tiny_llm(folder: Path, seed: int = 0) -> SpeechLLM:
    """A random model called "tiny" whose window is ``WINDOW`` tokens."""
    model = SpeechLLM.from_pretrained(make_tiny_qwen2_audio(folder, seed), device="cpu")
    model.name, model.window = "tiny", WINDOW
    return model


def make_dump(folder: Path, cuts: list[MonoCut], model: SpeechLLM) -> Path:
    """Stage 2 of ``cuts``: ``folder / "dump"``."""
    write_cuts(folder / "cuts.jsonl", cuts)
    extract_features(folder / "cuts.jsonl", folder / "dump", model, progress=False)
    return folder / "dump"


def config_of(folder: Path, **changes) -> DecodeConfig:
    """``CONFIG`` with changes, by way of a file."""
    path = folder / "decode.yaml"
    path.write_text(yaml.safe_dump(CONFIG | changes))
    return load_config(path)


def run(dump: Path, exp: Path, config: DecodeConfig, model: SpeechLLM, jobs: int = 1) -> list[DecodeSummary]:
    """Stage 3, its jobs one after the other."""
    return [decode(dump, exp, config, model, Shard(job, jobs), progress=False) for job in range(1, jobs + 1)]


def merged(exp: Path) -> dict[tuple[str, float | None, str], dict]:
    """Rows by (system, rate, question id), as stage 4 reads them; no line may be broken."""
    problems = []
    rows = read_hypotheses(exp, problems).rows
    assert problems == []
    return {(row["system"], row["rate"], row["id"]): row for row in rows}


def lines_of(exp: Path) -> list[bytes]:
    """All lines of all hypothesis files, sorted."""
    return sorted(line for path in exp.rglob("hyp.*.jsonl") for line in path.read_bytes().splitlines(keepends=True))


def system(pruner, rate=None, **settings) -> System:
    return System(settings.pop("name", pruner.name), pruner, rate, **settings)


def answer(model, tokens, systems, asked=None, batch_tokens=10_000, together=None) -> dict[str, list]:
    """Replies by system folder of ``asked`` (or the usual three questions) about a recording's ``tokens``."""
    asked = questions(RECORDING) if asked is None else asked
    replies = Answerer(model, batch_tokens, together).answer(RECORDING, tokens, asked, systems)
    return {system.folder: found for system, found in replies}
