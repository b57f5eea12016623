"""The dataset card, README.md, of a published benchmark: what it is, who wrote and spoke it, what it gives away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import yaml

from speechprune import __version__
from speechprune.common.files import atomic_write
from speechprune.common.markdown import code_block, escape, table
from speechprune.common.names import without_paths
from speechprune.construction.checking import Sample, giveaways

_FORMAT = """One JSON object a line, as in SPIRAL (arXiv 2412.12009): `transcript`, `original_key_sentence`, \
`test_question`, `metadata`, `audio_data`. `key_sentences.indices` is half-open, of `combined.sentences`; \
`combined.times` has the seconds of each sentence, `combined.words` those of its words where the engine tells them. \
Recordings are 16 kHz, mono, 16 bit."""


def write_card(
    folder: Path,
    name: str,
    samples: Sequence[Sample],
    durations: Sequence[float],
    engine: tuple[str, str],
    commands: Sequence[str],
) -> Path:
    """``folder``/README.md in the form of the Hugging Face hub.

    Args:
        name: of the corpus.
        samples: those that are published.
        durations: seconds of their recordings.
        engine: name and licence of what spoke them.
        commands: that made it.
    """
    splits = Counter(sample.split for sample in samples)
    head = {
        "pretty_name": name,
        "language": ["en"],
        "license": "other",
        "license_name": "that-of-its-writer-and-engine",
        "tags": ["speech-information-retrieval", "audio", "multiple-choice", "synthetic", "speechprune"],
        "size_categories": ["n<1K" if len(samples) < 1000 else "1K<n<10K" if len(samples) < 10_000 else "10K<n<100K"],
    }
    blocks = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {name}",
        f"{len(samples)} synthetic recordings of {sum(durations) / len(durations):.1f} s on average, with a "
        "four-choice question each that one sentence answers (Speech Information Retrieval); "
        f"written by speechprune {__version__}.",
        _FORMAT,
        table(["split", "samples", "topics"], [[s, str(n), str(_topics(samples, s))] for s, n in splits.items()]),
        "No topic is in two splits.",
        "## Who wrote and spoke it",
        table(["part", "by", "licence"], [*_writers(samples), ["speech", *map(escape, engine)]]),
        "## What finds the answers without listening",
        _giveaways(samples),
        "Compare the scores of a model with these.",
    ]
    if commands:
        blocks += ["## Commands", code_block(without_paths("\n".join(commands)))]
    with atomic_write(folder / "README.md") as file:
        file.write("\n\n".join(blocks) + "\n")
    return folder / "README.md"


def _topics(samples: Sequence[Sample], split: str) -> int:
    return len({(sample.scenario, sample.topic) for sample in samples if sample.split == split})


def _writers(samples: Sequence[Sample]) -> list[list[str]]:
    found = Counter((sample.writer["model"], sample.writer["licence"]) for sample in samples)
    return [[f"dialogues and questions ({n})", escape(model), escape(by)] for (model, by), n in found.items()]


def _giveaways(samples: Sequence[Sample]) -> str:
    rows = [
        [split, escape(found.name), f"{100 * found.accuracy:.2f}", "[{:.2f}, {:.2f}]".format(*_percent(found.ci95))]
        for split, entries in giveaways(samples).items()
        for found in entries
    ]
    return table(["split", "what", "accuracy, %", "95 % interval"], rows)


def _percent(interval: tuple[float, float]) -> tuple[float, float]:
    return 100 * interval[0], 100 * interval[1]
