"""What a large array leaves behind, made up: ``python tests/helpers/many_rows.py FOLDER [SHARDS [RECORDINGS]]``.

FOLDER gets dump, exp and decode.yaml of 25 systems that have answered five questions about each recording, in as many
files as that number of jobs writes. docs/slurm.md says what it costs to look at.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from speechprune.decoding.expected import expect, identity
from speechprune.decoding.versions import version_of

QUESTIONS = 5
ASKED = {
    "question": "What colour is the bag?",
    "choices": ["red", "blue", "green", "black"],
    "answer": 1,
    "evidence": [{"start": 1.0, "duration": 2.0}],
}
VERSION = version_of(ASKED)
RATES = [k / 25 for k in range(25)]


def make_many(folder: Path, shards: int = 1000, recordings: int = 8000) -> None:
    dump = folder / "dump"
    dump.mkdir(parents=True)
    names = [f"test-{i:05}" for i in range(recordings)]
    (dump / "recordings.json").write_text(json.dumps(names))
    for job in range(1, shards + 1):
        write_lines(dump / f"cuts.{job}.jsonl", map(cut, names[job - 1 :: shards]))
    for rate in RATES:
        exp = folder / "exp" / f"rap_{rate:g}"
        exp.mkdir(parents=True)
        (exp / "config.json").write_text(json.dumps({"name": "rap", "method": "rap", "rate": rate}))
        for job in range(1, shards + 1):
            rows = (row(name, k, rate) for name in names[job - 1 :: shards] for k in range(QUESTIONS))
            write_lines(exp / f"hyp.{job}.jsonl", rows)
    table = {"systems": ["rap"], "rates": RATES}
    (folder / "decode.yaml").write_text(json.dumps(table))
    folders = {f"rap_{rate:g}": {"permute": "none", "mode": "logprob"} for rate in RATES}
    expect(folder / "exp", dump, identity(table), folders)


def cut(name: str) -> dict:
    """A minute of speech with the time of every word, about 10 kB; in mini_sir it is 22 kB."""
    words = [["and", 0.25 * k, 0.25, None] for k in range(240)]
    supervisions = [{"id": f"{name}-s{k}", "text": "and " * 12, "alignment": {"word": words[k::20]}} for k in range(20)]
    questions = [{"id": f"{name}-q{k}", **ASKED} for k in range(QUESTIONS)]
    custom = {"questions": questions, "source_hash": "0" * 16, "revision": 1, "audio_tokens": {"shape": [1500, 128]}}
    return {"id": name, "type": "MonoCut", "supervisions": supervisions, "custom": custom}


def row(name: str, k: int, rate: float) -> dict:
    about = {"id": f"{name}-q{k}", "recording": name, "system": "rap", "rate": rate, "model": "mini", "set": "test"}
    said = {"prediction": "A", "answer": "B", "choice_logprobs": [-1.123456, -2.123456, -3.123456, -4.123456]}
    kept = {"tokens": 450, "total_tokens": 1500, "duration": 60.0, "kept": "eNp" + "x" * 200, "evidence_recall": 1.0}
    return (
        about | said | kept | {"evidence_precision": 0.05, "error": None, "version": VERSION, "source_hash": "0" * 16}
    )


def write_lines(path: Path, rows) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


if __name__ == "__main__":
    make_many(Path(sys.argv[1]), *map(int, sys.argv[2:4]))
