"""Small stand-ins for tests of the data path: cuts with real wavs, a model without weights, a child process."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from lhotse import AudioSource, MonoCut, Recording, SupervisionSegment

from speechprune.common.files import Problem, Shard
from speechprune.features.dump import load_states, read_dump
from speechprune.features.extract import FeatureSummary, extract_features

FRAME = 640  # samples: 40 ms at 16 kHz


class EnergyModel:
    """Says (mean energy, mean, highest, lowest sample) of every 40 ms; ``before`` is called before each recording."""

    name = "energy"
    fingerprint = "energy-1"
    dtype = torch.float32
    frame_rate = 25.0
    sampling_rate = 16000
    window_seconds = 2.0
    signals = ()

    def __init__(self, before: Callable[[int], None] = lambda index: None):
        self.before = before
        self.calls = 0
        self.longest = 0  # samples of the longest window seen

    def encode_parts(self, windows: Iterable[np.ndarray]) -> Iterator[torch.Tensor]:
        self.before(self.calls)
        self.calls += 1
        for window in windows:
            self.longest = max(self.longest, len(window))
            frames = np.pad(window, (0, -len(window) % FRAME)).reshape(-1, FRAME)
            parts = (frames**2).mean(1), frames.mean(1), frames.max(1), frames.min(1)
            yield torch.from_numpy(np.stack(parts, axis=1))


def energies(samples: np.ndarray) -> np.ndarray:
    """What ``EnergyModel`` says of whole windows of ``samples`` (T,), frame by frame: (N, 4) float16."""
    rows = []
    for start in range(0, len(samples), FRAME):
        frame = np.zeros(FRAME, dtype=np.float32)
        part = samples[start : start + FRAME]
        frame[: len(part)] = part
        rows.append([np.mean(frame**2), np.mean(frame), frame.max(), frame.min()])
    return np.array(rows, dtype=np.float16)


def speechlike(seconds: float, seed: int, rate: int = 16000, channels: int = 1) -> np.ndarray:
    """(T, channels) float32 noise whose loudness changes, so that every frame differs."""
    generator = np.random.default_rng(seed)
    size = round(seconds * rate)
    swell = 0.2 + 0.1 * np.sin(np.arange(size) / rate * 7)[:, None]
    return (generator.standard_normal((size, channels)) * swell).clip(-1, 1).astype(np.float32)


def make_cut(
    name: str, path: str | Path, seconds: float = 5.0, rate: int = 16000, channels: int = 1, samples: int | None = None
) -> MonoCut:
    """A cut that keeps every promise; nothing is read from ``path``."""
    samples = round(seconds * rate) if samples is None else samples
    source = AudioSource("file", list(range(channels)), str(path))
    sentence = SupervisionSegment(
        f"{name}-s0", name, 0.5, 1.5, text="The bag of Anna is red.", speaker="anna", gender="F"
    )
    question = {
        "id": f"{name}-q0",
        "question": "What colour is the bag of Anna?",
        "choices": ["red", "blue", "green", "black"],
        "answer": 0,
        "evidence": [{"start": 0.5, "duration": 1.5}],
    }
    return MonoCut(
        id=name,
        start=0.0,
        duration=samples / rate,
        channel=0,
        supervisions=[sentence],
        recording=Recording(name, [source], rate, samples, samples / rate),
        custom={"questions": [question], "scenario": "meeting", "hard": False},
    )


def make_corpus(folder: Path, count: int, seconds: float = 5.0) -> list[MonoCut]:
    """``count`` cuts test-0000, ... with their wavs in ``folder``."""
    cuts = []
    for i in range(count):
        path = folder / f"test-{i:04}.wav"
        soundfile.write(path, speechlike(seconds, i), 16000, subtype="FLOAT")
        cuts.append(make_cut(path.stem, path, seconds))
    return cuts


def write_silence(path: Path, seconds: float, rate: int = 16000) -> None:
    """A 16-bit wav of zeros that takes no room on the disk: a header, and a hole."""
    size = round(seconds * rate) * 2
    header = b"RIFF" + (36 + size).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += (1).to_bytes(2, "little") * 2 + rate.to_bytes(4, "little") + (2 * rate).to_bytes(4, "little")
    header += (2).to_bytes(2, "little") + (16).to_bytes(2, "little") + b"data" + size.to_bytes(4, "little")
    path.write_bytes(header)
    os.truncate(path, len(header) + size)


def in_child(work: Callable[[], object]) -> tuple[int, object]:
    """Run ``work`` in a forked process: (signal that ended it or 0, what it returned or the exception it raised)."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            result = work()
        except BaseException as error:
            result = RuntimeError(f"{type(error).__name__}: {error}")
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(result, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, pickle.loads(data) if data else None  # noqa: S301


def rows(path: Path) -> list[dict]:
    """The JSON objects of a file, read without the library."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def extract(tmp_path: Path, model=None, shard: str = "1/1") -> FeatureSummary:
    model = model or EnergyModel()
    return extract_features(tmp_path / "cuts.jsonl.gz", tmp_path / "dump", model, Shard.parse(shard), progress=False)


def dump_of(tmp_path: Path) -> dict[str, np.ndarray]:
    """States by recording id of a dump that has no problem in it."""
    problems: list[Problem] = []
    states = {cut.id: load_states(cut) for cut in read_dump(tmp_path / "dump", problems)}
    assert problems == []
    return states


def expected_of(cuts: list[MonoCut]) -> dict[str, np.ndarray]:
    return {cut.id: energies(soundfile.read(cut.recording.sources[0].source, dtype="float32")[0]) for cut in cuts}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == sorted(expected)
    for name, states in expected.items():
        assert found[name].dtype == np.float16
        np.testing.assert_allclose(found[name].astype(float), states.astype(float), rtol=2e-3, atol=1e-6)
