"""What the multiple-choice sets of AudioBench have in common: parquet with the audio inside, subsets by length.

Source: https://github.com/AudioLLMs/AudioBench. A row has ``context`` (audio: {bytes, path}), ``instruction`` (the
question), ``choices`` (one text, ``(A) ..\\n(B) ..``) and ``answer`` (``(B) ..``). Rows may share a recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lhotse import CutSet, MonoCut
from speechprune.recipes.audiobench_rows import read_rows

from speechprune.common.files import Problem
from speechprune.data.building import (
    Item,
    build_cuts,
    file_state,
    open_recording,
    path_inside,
    select_cuts,
)
from speechprune.data.choices import answer_index, split_choices

LONG = "_60s"  # ends the name of the subset of recordings longer than that, the paper's


@dataclass
class Clip:
    """A recording and what is asked about it: question dicts of the cut contract, without ids."""

    id: str
    where: str
    audio: Path
    questions: list[dict] = field(default_factory=list)


def question_of(where: str, text: str, choices: list[str], answer: str) -> dict:
    """One question of the cut contract, without its id; ValueError where the answer is not among the choices."""
    index = answer_index(answer, choices)
    return {"question": text.strip(), "choices": choices, "answer": index, "evidence": None, "source": where}


def build_sets(
    corpus: str, clips: Sequence[Clip], wanted: Sequence[str], output_dir: Path, problems: list[Problem]
) -> dict[str, CutSet]:
    """Write the whole set that the clips are, and of ``wanted`` the subset ``<set>_60s``; {wanted set: cuts}."""
    whole = wanted[0].removesuffix(LONG)
    made = {whole: build_cuts(output_dir / whole, map(_item, clips), problems, corpus=corpus)}
    if whole + LONG in wanted:
        made[whole + LONG] = long_subset(made[whole], output_dir / (whole + LONG))
    return {name: made[name] for name in wanted}


def long_subset(cuts: CutSet, folder: Path) -> CutSet:
    """The recordings of more than 60 s, as the paper takes them."""
    return select_cuts(cuts, folder, lambda cut: cut.duration > 60)


def find_parquet(corpus_dir: Path) -> list[Path]:
    """The parquet files in a folder or its ``data/``, where a clone of the data set keeps them."""
    return sorted(corpus_dir.glob("*.parquet")) or sorted((corpus_dir / "data").glob("*.parquet"))


def read_clips(files: Sequence[Path], set_name: str, audio_dir: Path, problems: list[Problem]) -> list[Clip]:
    """Read parquet files row by row, and write each recording once into ``audio_dir``.

    Args:
        files: in order; recordings are numbered through them.
        set_name: begins the ids.
        audio_dir: gets ``<id>.wav`` (or .flac, ...: the bytes are kept as they are).
        problems: gets each row, and each file, that cannot be used.
    Returns:
        the recordings in the order of their first rows. Only text is kept in memory.
    """
    clips: dict[str, Clip] = {}
    for row in read_rows(files, set_name, audio_dir):
        where = row["where"]
        try:
            if "error" in row:
                raise ValueError(row["error"])
            if row["name"]:
                _refuse_outside(row["name"])
            before, choices = split_choices(row["choices"])
            if before:
                raise ValueError(f"choices: {before!r} stands before choice A")
            question = question_of(where, row["instruction"], choices, row["answer"])
            audio = Path(row["audio"])
            clips.setdefault(row["audio"], Clip(audio.stem, where, audio)).questions.append(question)
        except (ValueError, TypeError, AttributeError) as error:
            problems.append(Problem(where, "row", str(error), ""))
    return list(clips.values())


def hub_download(repo: str, target_dir: Path, by_hand: str) -> Path:
    """Fetch the parquet files of a Hugging Face data set: progress, resume and checksums are the hub client's.

    Raises:
        ValueError: that failed; the message goes on with ``by_hand``, what to do.
    """
    from huggingface_hub import snapshot_download

    if find_parquet(target_dir):
        return target_dir
    try:
        snapshot_download(repo, repo_type="dataset", local_dir=target_dir, allow_patterns="data/*.parquet")
    except Exception as error:  # the hub's client has dozens of errors, and all mean: not fetched
        raise ValueError(f"{repo} could not be fetched ({type(error).__name__}: {error}).\n{by_hand}") from error
    if not find_parquet(target_dir):
        raise ValueError(f"{repo} has no data/*.parquet.\n{by_hand}")
    return target_dir


def _refuse_outside(name: str) -> None:
    with suppress(FileNotFoundError):  # the audio is in the row; the name is only looked at
        path_inside(Path(), name)


def _item(clip: Clip) -> Item:
    state = file_state(clip.audio) if clip.audio.is_file() else None
    return Item(clip.id, clip.where, [state, clip.questions], lambda: _cut(clip))


def _cut(clip: Clip) -> MonoCut:
    recording = open_recording(clip.audio, clip.id)
    questions = [{"id": f"{clip.id}-q{k}", **question} for k, question in enumerate(clip.questions)]
    return MonoCut(clip.id, 0.0, recording.duration, 0, recording=recording, custom={"questions": questions})
