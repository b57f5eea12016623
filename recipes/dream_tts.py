"""DREAM-TTS: dialogues of English exams, spoken by synthesisers, with three choices a question.

Two sources of one corpus:
- AudioBench's recordings, https://huggingface.co/datasets/AudioLLMs/dream_tts_mcq_test: 1,913 rows, the paper's test.
- DREAM's text, https://github.com/nlpdata/dream, for non-commercial research: sets train, dev and test, spoken here.
``<set>_60s`` is the subset of recordings longer than 60 s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from lhotse import CutSet, MonoCut
from speechprune.recipes.audiobench import (
    LONG,
    build_sets,
    find_parquet,
    hub_download,
    long_subset,
    question_of,
    read_clips,
)

from speechprune.alignment import Sentence
from speechprune.common.download import download_file
from speechprune.common.files import Problem, shown
from speechprune.common.names import file_name
from speechprune.common.reading import read_json
from speechprune.data.building import Item, build_cuts, split_subset
from speechprune.tts.transcripts import Synthesis

SETS = ("test", "dev", "train")
DIALOGUES = {"train": (3869, 6116), "dev": (1288, 2040), "test": (1287, 2041)}  # published, with questions
AUDIOBENCH_ROWS = 1913
REPO = "AudioLLMs/dream_tts_mcq_test"
_OWNER = "https://raw.githubusercontent.com/nlpdata/dream/bb64644c209cb6497bb9e13244fbf220c900a740/data"
_SHA256 = {
    "train": "90942ddea1b56231a0ad2097dc5f115ce1face1cfb86f029041e5bad38e68566",
    "dev": "9d5af2e580d809c73872a7dd43fe93d0b07c6f6086b04a9a9a1917603009d961",
    "test": "d96d7d0752f7eab1ea8f165a582430f35653c428d36633ab4d7f26fc14946c3a",
}
_BY_HAND = """Fetch it by hand (about 2 GB; the page states its licence, accept it there if it asks):
  hf download --repo-type dataset {repo} --local-dir {folder}
so that {folder}/data/ holds test-*.parquet, and run this again.
Or let a synthesiser speak DREAM's published text: --tts espeak"""
_FEMALE = "w|f|woman|girl|mother|mom|mum|wife|daughter|sister|lady|waitress|mrs|miss|ms|w\\d|f\\d"
_MALE = "m|man|boy|father|dad|husband|son|brother|gentleman|waiter|mr|m\\d"


def download_dream_tts(target_dir: Path, sets: Sequence[str] = ("test",), nj: int = 1, tts: str | None = None) -> Path:
    """Fetch AudioBench's recordings, or, when ``tts`` will speak it, DREAM's text.

    Args:
        target_dir: gets ``data/test-*.parquet``, or ``<set>.json``; files that are there stay as they are.
        sets: with ``tts``, which JSON files.
        nj: makes no difference.
        tts: the engine that will speak the dialogues.
    Raises:
        ValueError: it could not be fetched; the message says what to do by hand.
    """
    target_dir = Path(target_dir)
    wanted = split_subset(sets, SETS, LONG, "dream_tts")
    if tts is None:
        return hub_download(REPO, target_dir, _BY_HAND.format(repo=REPO, folder=target_dir))
    for name in wanted:
        if not (target_dir / f"{name}.json").is_file():
            download_file(f"{_OWNER}/{name}.json", target_dir / f"{name}.json", sha256=_SHA256[name])
    return target_dir


def prepare_dream_tts(
    corpus_dir: Path,
    output_dir: Path,
    sets: Sequence[str] = ("test",),
    tts: str | None = None,
    voices: str | Path | None = None,
    level: float | None = None,
    nj: int | None = None,
) -> dict[str, CutSet]:
    """Turn DREAM-TTS into validated cuts.

    Args:
        corpus_dir: holds AudioBench's parquet files (in it or in ``data/``), or with ``tts`` DREAM's ``<set>.json``.
        output_dir: gets ``<set>/cuts.jsonl.gz`` and ``<set>/wav/``.
        sets: of test, dev, train, and each with ``_60s``; AudioBench has test alone.
        tts: an engine that speaks DREAM's dialogues; parquet files are not used then.
        voices, level: with ``tts``: a file of the voices that may speak; RMS of every sentence, dB below full scale.
        nj: processes that share the dialogues to be spoken; None: no other process.
    Returns:
        {set: CutSet}. Rows that cannot be used are left out, logged and listed in ``<set>/problems.txt``.
    Raises:
        ValueError: an unknown set, engine or voice, or not one usable row.
        FileNotFoundError: the set's files are not there.
    """
    corpus_dir, output_dir = Path(corpus_dir), Path(output_dir)
    prepared: dict[str, CutSet] = {}
    synthesis = Synthesis.read(tts, voices, level)
    for whole, wanted in split_subset(sets, SETS, LONG, "dream_tts").items():
        problems: list[Problem] = []
        if synthesis is None:
            files = find_parquet(corpus_dir)
            if not files or whole != "test":
                reason = f"no parquet files in {corpus_dir}" if not files else f"AudioBench has no set {whole}"
                raise FileNotFoundError(f"{reason}.\n{_BY_HAND.format(repo=REPO, folder=corpus_dir)}")
            clips = read_clips(files, whole, output_dir / whole / "wav", problems)
            _check(clips, problems)
            prepared |= build_sets("dream_tts", clips, wanted, output_dir, problems)
            continue
        items = _items(corpus_dir / f"{whole}.json", whole, output_dir / whole / "wav", synthesis, problems)
        made = {whole: build_cuts(output_dir / whole, items, problems, corpus="dream_tts", nj=nj)}
        if whole + LONG in wanted:
            made[whole + LONG] = long_subset(made[whole], output_dir / (whole + LONG))
        prepared |= {name: made[name] for name in wanted}
    return {name: prepared[name] for name in sets}


def _check(clips: list, problems: list[Problem]) -> None:
    """Three choices a question, and as many questions as published."""
    for clip in clips:
        for question in [q for q in clip.questions if len(q["choices"]) != 3]:
            clip.questions.remove(question)
            problems.append(Problem(question["source"], "choices", shown(question["choices"]), "three"))
    clips[:] = [clip for clip in clips if clip.questions]
    found = sum(len(clip.questions) for clip in clips)
    if found != AUDIOBENCH_ROWS:
        problems.append(Problem("parquet", "questions", str(found), f"{AUDIOBENCH_ROWS}, as published"))


def _items(path: Path, name: str, wavs: Path, synthesis: Synthesis, problems: list[Problem]) -> Iterator[Item]:
    """One item per dialogue of a DREAM file: ``[["W: ..", ..], [{question, choice, answer}, ..], id]``."""
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))) or "no JSON at all"
        raise FileNotFoundError(f"no such file: {path} (the folder has: {there}); run stage 0, or choose other --sets")
    rows = read_json(path, list, "fetch it again")
    asked_in_all = 0
    for number, row in enumerate(rows, start=1):
        where = f"{path.name}:{number}"
        try:
            turns, asked, identity = row
            sentences = [_sentence(turn) for turn in turns]
            questions = list(_questions(where, asked, problems))
            asked_in_all += len(asked)
            recording = f"{name}-{identity.replace('-', '_')}"
            if not questions:
                raise ValueError("not one usable question")
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            problems.append(Problem(where, "dialogue", str(error), ""))
            continue
        make = partial(_cut, recording, sentences, questions, synthesis, wavs / f"{file_name(recording)}.wav")
        yield Item(recording, where, [turns, questions, synthesis.identity], make)
    if (len(rows), asked_in_all) != DIALOGUES[name]:
        value = f"{len(rows)} dialogues with {asked_in_all} questions"
        problems.append(Problem(path.name, "rows", value, "{} with {}, as published".format(*DIALOGUES[name])))


def _questions(where: str, asked: list[dict], problems: list[Problem]) -> Iterator[dict]:
    """The usable questions of a dialogue; the others are reported."""
    for k, row in enumerate(asked, start=1):
        try:
            choices = [choice.strip() for choice in row["choice"]]
            if len(set(choices)) != 3 or len(choices) != 3:
                raise ValueError(f"choices {shown(choices)}, expected three that differ")
            if row["answer"].strip() not in choices:
                raise ValueError(f"answer {shown(row['answer'])!r} is not among the choices {shown(choices)}")
            yield question_of(f"{where}, question {k}", row["question"], choices, row["answer"])
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            problems.append(Problem(f"{where}, question {k}", "question", str(error), ""))


def _sentence(turn: str) -> Sentence:
    speaker, colon, text = turn.partition(":")
    if not colon:
        raise ValueError(f"turn {shown(turn)!r}, expected 'speaker: words'")
    return Sentence(text.strip(), "_".join(re.findall(r"\w+", speaker)) or "nobody", _gender(speaker))


def _gender(speaker: str) -> str | None:
    """F or M where the speaker's name says it ("W", "Man", "Dave's Sister"), None for a name or a job."""
    last = speaker.replace(".", " ").split()[-1:] + speaker.replace(".", " ").split()[:1]
    for word in last:
        for gender, names in (("F", _FEMALE), ("M", _MALE)):
            if re.fullmatch(names, word.lower()):
                return gender
    return None


def _cut(name: str, sentences: list[Sentence], questions: list[dict], synthesis: Synthesis, wav: Path) -> MonoCut:
    recording, said = synthesis.speak(name, sentences, wav)
    custom = {
        "questions": [{"id": f"{name}-q{k}", **question} for k, question in enumerate(questions)],
        "resynthesised": synthesis.engine.name,
    }
    return MonoCut(name, 0.0, recording.duration, 0, list(said.values()), recording=recording, custom=custom)
