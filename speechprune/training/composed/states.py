"""The tower's states of many recordings, stored once: Kaldi archives, and a line for each recording that is whole."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import AudioFlamingo3Encoder, WhisperFeatureExtractor

from speechprune.common.files import Shard, append_lines, open_append, read_jsonl
from speechprune.features.archives import KaldiioReader, KaldiioWriter
from speechprune.training.composed.speech import Spoken, Studio
from speechprune.training.composed.tower import lower_states, positions
from speechprune.training.composed.voices import SAMPLING_RATE
from speechprune.training.optimisation import quick

_SPARE = 2_000_000_000  # bytes that are left free on the disk
_BATCH = 2  # windows at once


@dataclass(frozen=True)
class Window:
    """Stored states of one window: where they are, how many positions, and when the window starts, in seconds."""

    archive: str
    key: str
    count: int
    start: float


@dataclass(frozen=True)
class Row:
    """A recording whose states are stored: ``Spoken`` without its sound."""

    number: int
    duration: float
    words: list
    questions: list
    windows: tuple[Window, ...]


def disk_needed(hours: float, tower: AudioFlamingo3Encoder) -> int:
    """Bytes of the float16 states of ``hours`` of speech."""
    return round(hours * 120 * tower.config.max_source_positions * tower.config.hidden_size * 2)


def check_disk(folder: Path, hours: float, tower: AudioFlamingo3Encoder) -> None:
    """Say what the states need. OSError where the disk cannot hold them."""
    stored = sum(file.stat().st_size for file in folder.glob("*.ark"))
    needed, free = disk_needed(hours, tower) - stored, shutil.disk_usage(folder).free
    logging.info("states of %g h need %.1f GB more in %s, %.1f GB are free", hours, needed / 1e9, folder, free / 1e9)
    if needed + _SPARE > free:
        raise OSError(
            f"{folder}: {needed / 1e9:.1f} GB are needed for {hours:g} h, {free / 1e9:.1f} GB are free; "
            "lower speech.hours, or write elsewhere"
        )


class Listener:
    """The lower part of the tower, with its feature extractor."""

    def __init__(self, tower: AudioFlamingo3Encoder, extractor: WhisperFeatureExtractor, layers: int) -> None:
        self._tower, self._extractor, self._layers = tower, extractor, layers
        self._size = extractor.n_samples

    def states(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """(T,) samples at 16 kHz -> of each window its states (n, d) float16; a rest without a token is left out."""
        windows = [samples[i : i + self._size] for i in range(0, len(samples), self._size)]
        device = self._tower.conv1.weight.device
        for i in range(0, len(windows), _BATCH):
            group = windows[i : i + _BATCH]
            parts = [group] if len(group[-1]) == len(group[0]) else [group[:-1], group[-1:]]
            for part in parts:
                inputs = self._extractor(
                    part, sampling_rate=SAMPLING_RATE, return_attention_mask=True, return_tensors="pt"
                ).to(device)
                count = positions(self._tower, int(inputs["attention_mask"][0].sum()))
                if count <= 0:
                    continue
                with quick(device):
                    found = lower_states(self._tower, inputs["input_features"], count, self._layers)
                yield from found.cpu().to(torch.float16).numpy()


def store(studio: Studio, listener: Listener, folder: Path, name: str, hours: float, shard: Shard) -> None:
    """Record, listen and store until this job has its share of ``hours``; goes on where a killed run stopped.

    Writes ``folder/<name>.<job>.ark`` and, for each recording once its states are on the disk, a line of
    ``folder/<name>.<job>.jsonl``.
    """
    archive, table = (folder / f"{name}.{shard.job}.{kind}" for kind in ("ark", "jsonl"))
    target = hours * 3600 / shard.jobs
    with open_append(table) as handle, KaldiioWriter(archive) as writer:
        rows = list(read_jsonl(table, []))
        done = sum(row["duration"] for row in rows)
        number = max((row["number"] for row in rows), default=shard.job - 1 - shard.jobs) + shard.jobs
        with tqdm(total=round(target), initial=round(done), desc=f"speech {name}", unit="s") as bar:
            while done < target:
                spoken = studio.record(number)
                append_lines(handle, [_row(number, spoken, _write(spoken, listener, writer, number))])
                done, number = done + spoken.duration, number + shard.jobs
                bar.update(round(done) - bar.n)


def _write(spoken: Spoken, listener: Listener, writer: KaldiioWriter, number: int) -> list[list]:
    archive = Path(writer.storage_path).name
    return [
        [archive, writer.write(f"{number}-{k}", states), len(states)]
        for k, states in enumerate(listener.states(spoken.samples))
    ]


def _row(number: int, spoken: Spoken, windows: list[list]) -> dict:
    return {
        "number": number,
        "duration": round(spoken.duration, 3),
        "words": spoken.words,
        "questions": spoken.questions,
        "windows": windows,
    }


def read_rows(folder: Path, name: str, window_seconds: float) -> list[Row]:
    """All recordings of a set, in the order of their numbers.

    Raises:
        FileNotFoundError: none is stored.
    """
    found = [row for table in sorted(folder.glob(f"{name}.*.jsonl")) for row in read_jsonl(table, [])]
    if not found:
        raise FileNotFoundError(f"{folder}: no states of the set {name!r}; make them first (stage 1)")
    rows = []
    for row in sorted(found, key=lambda row: row["number"]):
        stored = enumerate(row["windows"])
        windows = [Window(archive, key, count, k * window_seconds) for k, (archive, key, count) in stored]
        rows.append(Row(row["number"], row["duration"], row["words"], row["questions"], tuple(windows)))
    return rows


class Store:
    """Reads stored windows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._readers: dict[str, KaldiioReader] = {}

    def read(self, window: Window, left: int = 0, right: int | None = None) -> np.ndarray:
        """States (n, d) float16 of positions [left, right)."""
        if window.archive not in self._readers:
            self._readers[window.archive] = KaldiioReader(self._folder / window.archive)
        return self._readers[window.archive].read(window.key, left, right)
