"""Stage 5 of building: a folder in SPIRAL's format of what was spoken, with a card and a sheet for checking by hand.

``data.jsonl`` is the test set, ``data_dev.jsonl`` and ``data_train.jsonl`` the others, ``data_h.jsonl`` the hard rows
of the test set once there are some, ``wavs/<id>.wav`` the recordings. A row has what SPIRAL's have, and the times of
its sentences and words as well, since they are known here: ``audio_data.combined.times`` and ``words``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lhotse import MonoCut

from speechprune.common.files import Problem, atomic_write, json_line, read_jsonl
from speechprune.common.registry import lookup
from speechprune.construction.benchmark_card import write_card
from speechprune.construction.checking import Sample, read_samples
from speechprune.construction.layout import HARD, NAMED, annotation, check_name
from speechprune.construction.plan import TEST
from speechprune.construction.sheet import write_sheet
from speechprune.construction.speaking import SPOKEN
from speechprune.data.cuts import read_cuts
from speechprune.prompts import LETTERS
from speechprune.tts import engines


def publish(
    folder: Path, name: str, cuts: Path | None, sheet: int, seed: int, commands: Sequence[str] = ()
) -> list[Sample]:
    """Write ``folder/<name>``: rows, recordings, the file that says the name, a card, a sheet for checking by hand.

    Args:
        folder: of the build, with its samples checked and spoken.
        name: of the corpus.
        cuts: those to publish, where some were dropped after they were spoken; all that were spoken if not given.
        sheet, seed: how many samples the sheet shows; of their draw.
        commands: that made the benchmark, for the card.
    Returns:
        the samples that are published.
    Raises:
        ValueError: a name that another corpus has, or cuts that are not of this build.
    """
    check_name(name)
    out = folder / name
    if out.exists() and not (out / NAMED).is_file():
        raise ValueError(f"--name {name}: {out} is there and holds no benchmark; choose another name")
    problems: list[Problem] = []
    spoken = {cut.id: cut for cut in read_cuts(cuts or folder / SPOKEN / "cuts.jsonl.gz", problems)}
    samples = [sample for sample in read_samples(folder) if sample.id in spoken]
    if problems or len(samples) < len(spoken) or not samples:
        reason = problems[0] if problems else f"{len(spoken)} cuts, of which {len(samples)} are samples of this build"
        raise ValueError(f"{cuts or folder / SPOKEN}: {reason}; speak them again: speechprune speak {folder}")
    with atomic_write(out / NAMED) as file:
        json.dump({"name": name, "format": "SPIRAL"}, file)
    rows: dict[str, list[dict]] = {}
    for sample in samples:
        cut = spoken[sample.id]
        _place(Path(cut.recording.sources[0].source), out / "wavs" / f"{sample.id}.wav")
        rows.setdefault(sample.split, []).append(spiral_row(sample, cut))
    _remove_others(out, {sample.id for sample in samples}, rows)
    for split, those in rows.items():
        with atomic_write(out / annotation(split), "wb") as file:
            file.writelines(map(json_line, those))
    engine = lookup("TTS engine", spoken[samples[0].id].custom["engine"], engines())
    durations = [spoken[sample.id].duration for sample in samples]
    write_card(out, name, samples, durations, (engine.name, engine.licence), commands)
    write_sheet(out, name, [row for those in rows.values() for row in those], sheet, seed)
    return samples


def spiral_row(sample: Sample, cut: MonoCut) -> dict:
    """A sample with the times of its cut, as a row of ``data.jsonl``."""
    turns: list[dict] = []
    for speaker, text in sample.sentences:
        if turns and turns[-1]["speaker"] == speaker:
            turns[-1]["text"].append(text)
        else:
            turns.append({"speaker": speaker, "text": [text]})
    speaker, key = sample.sentences[sample.key]
    choices = [f"{letter}. {text}" for letter, text in zip(LETTERS, sample.choices, strict=False)]
    engine = cut.custom["engine"]
    voices = {s.speaker.removeprefix(f"{sample.id}-"): s.custom["voice"] for s in cut.supervisions}
    said = sorted(cut.supervisions, key=lambda supervision: supervision.id)
    words = [[[w.symbol, w.start, round(w.end, 4)] for w in (s.alignment or {}).get("word", [])] for s in said]
    return {
        "transcript": turns,
        "original_key_sentence": key,
        "test_question": {
            "question": sample.question,
            "choices": choices,
            "correct_answer": choices[sample.answer],
        },
        "metadata": {
            "main_topic": sample.topic,
            "subtopic": sample.subtopic,
            "transcript_type": sample.scenario,
            "id": sample.id,
        },
        "audio_data": {
            "key_sentences": {"speaker": speaker, "text": key, "indices": [sample.key, sample.key + 1]},
            "combined": {
                "audio_files": [f"{sample.id}.wav"],
                "audio_folder": "wavs",
                "prompts_used": {who: f"{engine}/{voice}_{sample.speakers[who]}.wav" for who, voice in voices.items()},
                "sentences": [text for _, text in sample.sentences],
                "engine": engine,
                "duration": cut.duration,
                "times": [[s.start, round(s.end, 4)] for s in said],
                "words": words,
            },
        },
    }


def write_hard_rows(folder: Path, ids: Iterable[str]) -> int:
    """``data_h.jsonl`` of a published folder: the rows of ``data.jsonl`` whose cuts are named; returns their number."""
    wanted, problems = set(ids), list[Problem]()
    found = read_jsonl(folder / annotation(TEST), problems)
    rows = [row for row in found if f"{TEST}-{row['metadata']['id']}" in wanted]
    with atomic_write(folder / HARD, "wb") as file:
        file.writelines(map(json_line, rows))
    return len(rows)


def _place(source: Path, target: Path) -> None:
    """The recording under another name, without a second copy where the file system can."""
    with suppress(OSError):
        if target.samefile(source):
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.tmp")
    new.unlink(missing_ok=True)
    try:
        os.link(source, new)
    except OSError:
        shutil.copyfile(source, new)
    new.replace(target)


def _remove_others(out: Path, ids: set[str], rows: Mapping[str, list[dict]]) -> None:
    """What an earlier call left of samples that are published no more."""
    kept = {annotation(split) for split in rows}
    for path in [*out.glob("data*.jsonl"), *(out / "wavs").glob("*.wav")]:
        if path.name not in kept and path.stem not in ids:
            path.unlink()
