"""template: what the corpus is, in one line.

Source: where it comes from; its licence; its paper. How many recordings and questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lhotse import CutSet, MonoCut, SupervisionSegment

from speechprune.common.files import Problem, read_numbered
from speechprune.data.building import Item, build_cuts, file_state, open_recording, path_inside
from speechprune.data.choices import answer_index, split_choices


def download_template(
    target_dir: Path,
    sets: Sequence[str] = ("test",),
    nj: int = 1,
) -> Path:
    """Say where the corpus comes from: it cannot be fetched by a program. (``speechprune.common.download`` helps.)

    Raises:
        ValueError: it is not there; the message says what to put where.
    """
    for name in sets:
        if not (Path(target_dir) / f"{name}.jsonl").is_file():
            raise ValueError(f"put the corpus into {target_dir}, as {target_dir}/{name}.jsonl and {target_dir}/wav/")
    return Path(target_dir)


def prepare_template(
    corpus_dir: Path,
    output_dir: Path,
    sets: Sequence[str] = ("test",),
) -> dict[str, CutSet]:
    """Turn the corpus into validated cuts, ``output_dir/<set>/cuts.jsonl.gz``; rows that are broken are left out.

    Raises:
        FileNotFoundError: a set is not there. ValueError: a set has not one usable row.
    """
    prepared = {}
    for name in sets:
        problems: list[Problem] = []
        table = Path(corpus_dir) / f"{name}.jsonl"
        rows = read_numbered(table, problems)
        items = (_item(row, name, f"{table.name}:{number}", Path(corpus_dir) / "wav") for number, row in rows)
        prepared[name] = build_cuts(Path(output_dir) / name, items, problems, corpus="template")
    return prepared


def _item(row: dict, set_name: str, where: str, wavs: Path) -> Item:
    """One recording to be: its id, and all that its cut is made of."""
    name, wav = f"{set_name}-{row.get('id')}", wavs / str(row.get("wav"))
    state = file_state(wav) if wav.is_file() else None
    return Item(name, where, [row, state], partial(_cut, row, name, wavs))


def _cut(row: dict, name: str, wavs: Path) -> MonoCut:
    """ValueError says what is wrong with the row."""
    try:
        recording = open_recording(path_inside(wavs, row["wav"]), name)
        sentences, questions = [], []
        for k, said in enumerate(row["sentences"]):
            start, seconds = said["start"], said["end"] - said["start"]
            words = {"text": said["text"], "speaker": said["speaker"]}
            sentences.append(SupervisionSegment(f"{name}-s{k}", name, start, seconds, **words))
        for k, asked in enumerate(row["questions"]):
            _, choices = split_choices(asked["choices"])
            key = sentences[asked["key_sentence"]]
            questions.append(
                {
                    "id": f"{name}-q{k}",
                    "question": asked["question"],
                    "choices": choices,
                    "answer": answer_index(asked["answer"], choices),
                    "evidence": [{"start": key.start, "duration": key.duration}],
                }
            )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"the row is not as expected: {type(error).__name__}: {error}") from error
    return MonoCut(name, 0.0, recording.duration, 0, sentences, recording=recording, custom={"questions": questions})
