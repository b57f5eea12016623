"""A benchmark in SPIRAL's format that is none of the published corpora: one that egs/build_sir made, or your own.

A folder with ``data.jsonl`` (the set test), ``data_dev.jsonl`` and ``data_train.jsonl`` where there are such sets,
``data_h.jsonl`` (test_h, the hard rows of test; optional) and ``wavs/``. ``benchmark.json`` in it has the corpus' name,
else it is that of the folder; tables go by it. The folder's README.md says whose it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lhotse import CutSet
from speechprune.recipes.spiral_cuts import Maker
from speechprune.recipes.spiral_rows import read_rows

from speechprune.alignment import get_aligner
from speechprune.common.files import Problem
from speechprune.common.reading import read_json
from speechprune.construction.layout import HARD, NAMED, annotation, check_name
from speechprune.data.building import build_cuts, select_cuts
from speechprune.tts.transcripts import Synthesis

WHOLE = ("test", "dev", "train")
SETS = (*WHOLE, "test_h")


def prepare_benchmark(
    corpus_dir: Path,
    output_dir: Path,
    sets: Sequence[str] = ("test",),
    tts: str | None = None,
    aligner: str | None = None,
    voices: str | Path | None = None,
    level: float | None = None,
    nj: int | None = None,
) -> dict[str, CutSet]:
    """Turn a benchmark into validated cuts.

    Args:
        corpus_dir: the folder.
        output_dir: gets ``<set>/cuts.jsonl.gz``, and ``<set>/wav/`` with ``tts``.
        sets: of test, dev, train, and test_h (the hard ones of test, which carry ``hard`` in test too).
        tts, voices, level: an engine that speaks the transcripts anew, whose voices, how loud; see ``Synthesis``.
        aligner: a CTC model, name or folder, that finds the sentences in recordings whose rows do not tell the times.
        nj: processes that share the recordings, unless a CTC model finds the sentences; None: no other process.
    Returns:
        {set: CutSet}. Rows that cannot be used are left out, logged and listed in ``<set>/problems.txt``.
    Raises:
        ValueError: an unknown set, engine or voice, a name that is a published corpus', or not one usable row.
        FileNotFoundError: no rows of a set, or no recordings.
    """
    corpus_dir, output_dir = Path(corpus_dir), Path(output_dir)
    for name in sets:
        if name not in SETS:
            raise ValueError(f"benchmark has no set {name!r}; choose from: {', '.join(SETS)}")
    synthesis = Synthesis.read(tts, voices, level)
    if synthesis is None and not (corpus_dir / "wavs").is_dir():
        raise FileNotFoundError(f"{corpus_dir} has no folder wavs; give the folder of a benchmark, or speak it: --tts")
    corpus, align = _name(corpus_dir), get_aligner(aligner)
    prepared: dict[str, CutSet] = {}
    for name in [name for name in WHOLE if name in sets or (name == "test" and "test_h" in sets)]:
        problems: list[Problem] = []
        rows = dict(read_rows(corpus_dir / annotation(name), problems))
        hard = _hard(corpus_dir, problems) if name == "test" else set()
        maker = Maker(name, corpus_dir / "wavs", output_dir / name / "wav", hard, synthesis, align)
        items = [maker.item(where, row) for where, row in rows.items()]
        prepared[name] = build_cuts(output_dir / name, items, problems, corpus=corpus, nj=None if aligner else nj)
    if "test_h" in sets:
        prepared["test_h"] = select_cuts(prepared["test"], output_dir / "test_h", lambda cut: cut.custom["hard"])
    return {name: prepared[name] for name in sets}


def _name(corpus_dir: Path) -> str:
    """ValueError where it is a published corpus', whose figures would stand beside these."""
    file = corpus_dir / NAMED
    name = read_json(file).get("name") if file.is_file() else corpus_dir.resolve().name
    check_name(str(name))
    return str(name)


def _hard(corpus_dir: Path, problems: list[Problem]) -> set[str]:
    if not (corpus_dir / HARD).is_file():
        return set()
    return {row["metadata"]["id"] for _, row in read_rows(corpus_dir / HARD, problems)}
