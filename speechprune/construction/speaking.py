"""Stage 3 of building: the samples spoken, as a set of cuts whose times are those of the synthesis."""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path

from lhotse import CutSet, MonoCut

from speechprune.alignment import Sentence
from speechprune.common.files import Problem
from speechprune.common.names import file_name
from speechprune.construction.checking import CHECKED, Sample, read_samples
from speechprune.data.building import Item, build_cuts
from speechprune.tts.transcripts import Synthesis

log = logging.getLogger(__name__)

SPOKEN = "spoken"  # folder of the cuts and recordings


def speak_samples(folder: Path, synthesis: Synthesis, nj: int | None = None, progress: bool | None = None) -> CutSet:
    """Speak ``checked.jsonl`` into ``folder/spoken``: ``wav/<id>.wav`` (16 kHz, mono, 16 bit) and ``cuts.jsonl.gz``.

    The same samples and settings give the same bytes. What is spoken already is not spoken again.

    Args:
        folder: of the build.
        synthesis: engine, voices, level.
        nj: processes that share the samples; None: no other process.
        progress: as ``Meter``'s ``shown``.
    Returns:
        the cuts. A sample that the engine fails on, or dies of, is left out, logged and listed in ``problems.txt``.
    Raises:
        FileNotFoundError: the samples were not checked. ValueError: not one could be spoken.
    """
    samples, out = read_samples(folder), folder / SPOKEN
    items = [
        Item(
            sample.id,
            f"{CHECKED}:{number}",
            [asdict(sample), synthesis.identity],
            partial(_make, sample, synthesis, out / "wav" / f"{file_name(sample.id)}.wav"),
        )
        for number, sample in enumerate(samples, start=1)
    ]
    problems: list[Problem] = []
    return build_cuts(out, items, problems, progress, nj=nj)


def _make(sample: Sample, synthesis: Synthesis, wav: Path) -> MonoCut:
    sentences = [Sentence(text, speaker, sample.speakers[speaker]) for speaker, text in sample.sentences]
    recording, said = synthesis.speak(sample.id, sentences, wav)
    key = said[sample.key]
    question = {
        "id": f"{sample.id}-q0",
        "question": sample.question,
        "choices": sample.choices,
        "answer": sample.answer,
        "evidence": [{"start": key.start, "duration": key.duration}],
        "evidence_method": f"synthesis ({synthesis.engine.name})",
    }
    custom = {"questions": [question], "scenario": sample.scenario, "topic": sample.topic}
    custom |= {"subtopic": sample.subtopic, "split": sample.split, "engine": synthesis.engine.name}
    return MonoCut(sample.id, 0.0, recording.duration, 0, list(said.values()), recording=recording, custom=custom)
