"""SPIRAL: lectures, conversations and meetings of about 90 s, one question each about one key sentence.

Source: https://github.com/linyueqian/SPIRAL_Dataset (annotation; no licence file: ask its authors what you may do with
it), recordings as ``wavs/<id>.wav`` from https://duke.box.com/v/spiral-dataset. Paper: arXiv 2412.12009 (ICME 2025).
``data.jsonl`` has 1,012 rows, ``data_h.jsonl`` the 401 of them that the paper's Original answers wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lhotse import CutSet
from speechprune.recipes.spiral_cuts import Maker
from speechprune.recipes.spiral_rows import read_rows

from speechprune.alignment import get_aligner
from speechprune.common.download import download_file
from speechprune.common.files import Problem
from speechprune.data.building import build_cuts, select_cuts
from speechprune.tts.transcripts import Synthesis

SETS = ("test", "test_h")
HARD = 401
# The 1,012 published ids: the numbers of each kind run from 0 to the last, without these.
NUMBERS = {
    "lecture": (349, ""),
    "conversation": (348, "8 16 41 63 115 193 238 251 311 320 337"),
    "meeting": (
        349,
        "17 49 52 54 67 79 82 92 95 122 123 125 140 142 151 162 179 199 201 240 258 285 294 296 300 316",
    ),
}
_OWNER = "https://raw.githubusercontent.com/linyueqian/SPIRAL_Dataset/8a8906f746624bb55047fad7e33ed8eef1b1d314"
_SHA256 = {
    "data.jsonl": "485225b9ef52c98298ceb06745c7acf022dcc7c6436c610a17dbd11e8022519f",
    "data_h.jsonl": "a6c33e2a9ebf8f79c298f6aeb86a904ea136bc3bd845cc87c25fd6812750328c",
}
_WAVS = """SPIRAL's recordings are not in {folder}. Their owners share them by hand:
  1. open https://duke.box.com/v/spiral-dataset in a browser and download the folder of wavs
     (no licence file: the authors of arXiv 2412.12009 say what you may do with them);
  2. put the files into {folder}, as {folder}/lecture_0.wav and so on;
  3. run this again.
Or let a synthesiser speak the published transcripts: --tts espeak"""
_ANNOTATION = """{absent} not in {folder}. SPIRAL's annotation is two files, data.jsonl and data_h.jsonl, from
https://github.com/linyueqian/SPIRAL_Dataset: put them there, or let stage 0 fetch them into a folder of its own."""


def download_spiral(target_dir: Path, sets: Sequence[str] = ("test",), nj: int = 1, tts: str | None = None) -> Path:
    """Fetch the annotation, and say where the recordings come from.

    Args:
        target_dir: gets ``data.jsonl`` and ``data_h.jsonl``; files that are there stay as they are.
        sets, nj: make no difference.
        tts: the engine that will speak the transcripts; no recordings are needed then.
    Raises:
        ValueError: there are no recordings and no engine; the message says what to do by hand.
    """
    target_dir = Path(target_dir)
    for name, digest in _SHA256.items():
        if not (target_dir / name).is_file():
            download_file(f"{_OWNER}/{name}", target_dir / name, sha256=digest)
    if tts is None and not any((target_dir / "wavs").glob("*.wav")):
        raise ValueError(_WAVS.format(folder=target_dir / "wavs"))
    return target_dir


def prepare_spiral(
    corpus_dir: Path,
    output_dir: Path,
    sets: Sequence[str] = ("test",),
    tts: str | None = None,
    aligner: str | None = None,
    voices: str | Path | None = None,
    level: float | None = None,
    nj: int | None = None,
) -> dict[str, CutSet]:
    """Turn SPIRAL into validated cuts.

    Args:
        corpus_dir: holds ``data.jsonl``, ``data_h.jsonl``, and ``wavs/`` unless ``tts`` is given.
        output_dir: gets ``<set>/cuts.jsonl.gz``, and ``test/wav/`` with ``tts``.
        sets: of test (all) and test_h (the hard ones, which carry ``hard`` in test too).
        tts: an engine that speaks the transcripts; recordings in ``wavs/`` are not used then.
        aligner: a CTC model, name or folder, that finds the sentences in the recordings; without it they are estimated.
        voices, level: with ``tts``: a file of the voices that may speak; RMS of every sentence, dB below full scale.
        nj: processes that share the recordings, unless a CTC model finds the sentences; None: no other process.
    Returns:
        {set: CutSet}. Rows that cannot be used are left out, logged and listed in ``test/problems.txt``.
    Raises:
        ValueError: an unknown set, engine or voice, or not one usable row.
        FileNotFoundError: no annotation or no recordings.
    """
    corpus_dir, output_dir = Path(corpus_dir), Path(output_dir)
    for name in sets:
        if name not in SETS:
            raise ValueError(f"spiral has no set {name!r}; choose from: {', '.join(SETS)}")
    if tts is None and not (corpus_dir / "wavs").is_dir():
        raise FileNotFoundError(_WAVS.format(folder=corpus_dir / "wavs"))
    synthesis = Synthesis.read(tts, voices, level)
    if absent := [name for name in _SHA256 if not (corpus_dir / name).is_file()]:
        raise FileNotFoundError(_ANNOTATION.format(absent=" and ".join(absent), folder=corpus_dir))
    problems: list[Problem] = []
    hard = {row["metadata"]["id"] for _, row in read_rows(corpus_dir / "data_h.jsonl", problems)}
    rows = dict(read_rows(corpus_dir / "data.jsonl", problems))
    _check_counts({row["metadata"]["id"] for row in rows.values()}, hard, problems)
    maker = Maker("test", corpus_dir / "wavs", output_dir / "test" / "wav", hard, synthesis, get_aligner(aligner))
    items = (maker.item(where, row) for where, row in rows.items())
    processes = None if aligner else nj  # one model, which several could not share
    prepared = {"test": build_cuts(output_dir / "test", items, problems, corpus="spiral", nj=processes)}
    if "test_h" in sets:
        prepared["test_h"] = select_cuts(prepared["test"], output_dir / "test_h", lambda cut: cut.custom["hard"])
    return {name: prepared[name] for name in sets}


def _check_counts(found: set[str], hard: set[str], problems: list[Problem]) -> None:
    """Report what differs from the published set: missing and odd rows."""
    published = {
        f"{kind}_{n}"
        for kind, (last, without) in NUMBERS.items()
        for n in range(last + 1)
        if n not in set(map(int, without.split()))
    }
    for where, what, there in (
        ("data.jsonl", "missing rows", published - found),
        ("data.jsonl", "rows that the published set has not", found - published),
        ("data_h.jsonl", "rows that data.jsonl has not", hard - found),
    ):
        if there:
            names = ", ".join(sorted(there, key=_by_number)[:10]) + (", ..." if len(there) > 10 else "")
            problems.append(Problem(where, what, f"{len(there)}: {names}", "none"))
    if len(hard) != HARD:
        problems.append(Problem("data_h.jsonl", "rows", str(len(hard)), f"{HARD}, as published"))


def _by_number(name: str) -> tuple[str, int]:
    kind, _, number = name.rpartition("_")
    return kind, int(number) if number.isdigit() else -1
