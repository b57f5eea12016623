"""The Table I sweep, stages 2 and 3, against the obvious loop: one recording, one question, one system at a time."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from lhotse import MonoCut
from tqdm import tqdm

from speechprune.asking import SpeechLLM
from speechprune.bench.timing import Times
from speechprune.common.files import read_jsonl
from speechprune.common.markdown import aligned_table
from speechprune.costs.profiling import RATES
from speechprune.data.corpora import corpus_function
from speechprune.data.cuts import read_cuts, write_cuts
from speechprune.decoding.stage import decode
from speechprune.decoding.systems import DecodeConfig, System
from speechprune.features.extract import extract_features
from speechprune.pruners import get_pruner

SET = "dev"  # mini_sir's smallest spoken set
SYSTEMS = (
    System("original", get_pruner("original"), None),
    *(System(name, get_pruner(name), rate) for name in ("speechprune", "rap", "rac") for rate in RATES),
)
ABOUT = (
    "Stages 2 and 3 (`features`, `decode`) over Table I's systems, Original and three methods at four rates, against "
    "the obvious loop: `SpeechLLM.ask` for each system and each question, which reads the recording, encodes it, "
    "prunes and answers. Both go from the wav to the answers with one loaded model; stages 2 and 3 also write them to "
    "the disk. They take turns, one recording each, and must predict the same letters."
)

Answers = dict[tuple[str, str], str]  # {(question, system): predicted letter}


def measure_sweep(model: SpeechLLM, cuts: Sequence[MonoCut], progress: bool = True) -> dict:
    """Both ways over every recording.

    Args:
        model: the Speech LLM.
        cuts: recordings with questions, at least 2.
        progress: show a bar on stderr.
    Returns:
        {model, device, recordings, audio_seconds, systems, answers, equal, engine, loop, ratio, ratio_low, ratio_high}:
        ``engine`` and ``loop`` are ``Times`` of a recording; ``ratio`` is that of the sums, low and high the quartiles
        of the recordings' own ratios.
    Raises:
        ValueError: too few recordings, one that cannot be answered, or answers that differ.
    """
    if len(cuts) < 2:
        raise ValueError(f"{len(cuts)} recordings; a spread needs at least 2")
    fast, slow, answers = [], [], 0
    model.ask(_wav(cuts[0]), **_question(cuts[0].custom["questions"][0]))  # warm up
    for cut in tqdm(cuts, "sweep", unit="rec", disable=not progress, file=sys.stderr):
        seconds, ours = _engine(model, cut)
        fast.append(seconds)
        seconds, theirs = _loop(model, cut)
        slow.append(seconds)
        if ours != theirs:
            differ = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
            named = ", ".join(f"{q} {s}: {ours.get((q, s))} and {theirs.get((q, s))}" for q, s in differ[:3])
            raise ValueError(f"{cut.id}: {len(differ)} of {len(theirs)} answers of sweep and loop differ: {named}")
        answers += len(ours)
    low, _, high = statistics.quantiles([b / a for a, b in zip(fast, slow, strict=True)], n=4, method="inclusive")
    return {
        "model": model.name,
        "device": str(model.device),
        "recordings": len(cuts),
        "audio_seconds": round(sum(cut.duration for cut in cuts), 1),
        "systems": len(SYSTEMS),
        "answers": answers,
        "equal": answers,
        "engine": Times.of(fast).as_dict(),
        "loop": Times.of(slow).as_dict(),
        "ratio": sum(slow) / sum(fast),
        "ratio_low": low,
        "ratio_high": high,
    }


def _engine(model: SpeechLLM, cut: MonoCut) -> tuple[float, Answers]:
    """(seconds, answers) of stages 2 and 3."""
    with tempfile.TemporaryDirectory() as folder:
        cuts, dump, exp = (Path(folder) / name for name in ("cuts.jsonl", "dump", "exp"))
        write_cuts(cuts, [cut])
        start = time.perf_counter()
        extract_features(cuts, dump, model, progress=False)
        decode(dump, exp, DecodeConfig(SYSTEMS), model, progress=False)
        seconds = time.perf_counter() - start
        rows = {path.parent.name: list(read_jsonl(path, [])) for path in exp.glob("*/hyp.*.jsonl")}
    if errors := [row["error"] for found in rows.values() for row in found if row["error"]]:
        raise ValueError(f"{cut.id}: {len(errors)} rows without an answer, the first: {errors[0]}")
    return seconds, {(row["id"], folder): row["prediction"] for folder, found in rows.items() for row in found}


def _loop(model: SpeechLLM, cut: MonoCut) -> tuple[float, Answers]:
    """(seconds, answers) of the obvious loop."""
    answers: Answers = {}
    start = time.perf_counter()
    for system in SYSTEMS:
        seed = zlib.crc32(f"{system.seed}/{cut.id}".encode())  # stage 3's: random pruners draw the same tokens
        for question in cut.custom["questions"]:
            answer = model.ask(
                _wav(cut),
                **_question(question),
                pruner=system.pruner,
                rate=system.rate or 0.0,
                query=system.query,
                seed=seed,
            )
            answers[question["id"], system.folder] = answer.letter
    return time.perf_counter() - start, answers


def _wav(cut: MonoCut) -> str:
    return cut.recording.sources[0].source


def _question(question: dict) -> dict:
    return {"question": question["question"], "choices": question["choices"]}


def recordings(count: int, folder: Path) -> list[MonoCut]:
    """The first ``count`` recordings of mini_sir's dev set, spoken and prepared in ``folder`` (about a minute)."""
    corpus_function("download", "mini_sir")(folder / "downloads", sets=[SET])
    corpus_function("prepare", "mini_sir")(folder / "downloads", folder / "data", sets=[SET])
    return chosen(folder / "data" / SET, count)


def chosen(cuts: Path, count: int) -> list[MonoCut]:
    """The first ``count`` recordings of a prepared set."""
    return list(islice(read_cuts(cuts, []), count))


def format_sweep(result: dict) -> str:
    rows = [
        [name, *(f"{result[key][f'{part}_seconds']:.3g}" for part in ("median", "low", "high"))]
        for name, key in (("features + decode", "engine"), ("obvious loop", "loop"))
    ]
    asked = (
        f"Model {result['model']} on {result['device']}; {result['recordings']} recordings, "
        f"{result['audio_seconds']:g} s of audio; {result['answers']} answers ({result['systems']} systems), "
        f"{result['equal']} of them equal."
    )
    found = (
        f"**The sweep is {result['ratio']:.3g} times as fast as the loop** (ratio of the sums; quartiles of the "
        f"recordings' own ratios {result['ratio_low']:.3g} to {result['ratio_high']:.3g})."
    )
    head = ["", "median s a recording", "1st quartile", "3rd quartile"]
    return "\n\n".join([ABOUT, asked, aligned_table(head, rows), found])
