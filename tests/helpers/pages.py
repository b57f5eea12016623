"""A small experiment for the tests of report.html: every kind of row, and texts that try to be markup."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
from helpers.fakes import make_cut
from lhotse import MonoCut, SupervisionSegment

from speechprune.data.cuts import write_cuts
from speechprune.decoding.hypotheses import pack_tokens
from speechprune.scoring.stage import write_results

RATE = 16000
SECONDS = 4.0
TOKENS = 100  # of each recording: 40 ms a token
EVIL = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
CHOICES = ["a \"quoted\" & 'single' one", "**bold** [link](http://example.org) `code`", EVIL, "\u2028 four \u2029"]
KEPT = range(20, 60)  # by SpeechPrune; evidence is tokens 25 to 49, so all of it is kept
LOGPROBS = [-0.5, -1.5, -2.5, -3.5]


def tones(seconds: float = SECONDS) -> np.ndarray:
    """(T,) float32: another pitch in each second, so that a place can be told by its sound."""
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * (300 + 200 * np.floor(time)) * time)).astype(np.float32)


def make_cuts(folder: Path, count: int = 3) -> list[MonoCut]:
    """Cuts test-0000, ... of two questions each; their wavs in ``folder``."""
    cuts = []
    for i in range(count):
        path = folder / f"test-{i:04}.wav"
        soundfile.write(path, tones(), RATE)
        cut = make_cut(path.stem, path, SECONDS)
        cut.supervisions = [
            SupervisionSegment(f"{cut.id}-s0", cut.id, 0.0, 0.9, text=f"First {EVIL}", speaker=f"{cut.id}-anna"),
            SupervisionSegment(f"{cut.id}-s1", cut.id, 1.0, 1.0, text="The bag is here.", speaker=f"{cut.id}-ben"),
            SupervisionSegment(f"{cut.id}-s2", cut.id, 2.0, 1.5, text="The cup is there."),
        ]
        cut.custom["questions"] = [
            {
                "id": f"{cut.id}-q{k}",
                "question": f"Where is the {('bag', 'cup')[k]} of {cut.id}? {EVIL if i == 0 else ''}".strip(),
                "choices": CHOICES,
                "answer": k,
                "evidence": [{"start": 1.0, "duration": 1.0}],
                "distractors": [{"start": 2.0, "duration": 1.5}],
            }
            for k in range(2)
        ]
        cuts.append(cut)
    return cuts


def row(cut: MonoCut, question: int, system: str, rate: float | None = None, **changes) -> dict:
    """A row that answers "A" after all ``TOKENS`` tokens."""
    return {
        "id": f"{cut.id}-q{question}",
        "recording": cut.id,
        "system": system,
        "rate": rate,
        "model": "mini",
        "set": "test",
        "prediction": "A",
        "answer": "AB"[question],
        "choice_logprobs": LOGPROBS,
        "tokens": TOKENS,
        "total_tokens": TOKENS,
        "kept": pack_tokens(range(TOKENS), TOKENS),
        "evidence_recall": 1.0,
        "error": None,
    } | changes


def old(given: dict) -> dict:
    """As earlier versions wrote it."""
    return {key: value for key, value in given.items() if key != "kept"}


def rotations(cut: MonoCut, question: int) -> list[dict]:
    """Always "A": another choice under each rotation. Under rotation r only token r is kept."""
    return [
        row(
            cut,
            question,
            "turned",
            rotation=r,
            answer="ABCD"[(question - r) % 4],
            kept=pack_tokens([r], TOKENS),
            tokens=1,
        )
        for r in range(4)
    ]


def rows_of(cuts: list[MonoCut]) -> list[dict]:
    """Systems: full, original (rows of an earlier version), rap, speechprune, talker, silence, broken, turned."""
    rows = []
    for place, cut in enumerate(cuts):
        for k in range(2):
            kept = {"kept": pack_tokens(KEPT, TOKENS), "tokens": len(KEPT), "evidence_recall": 0.5}
            some = {"kept": pack_tokens(range(0, TOKENS, 2), TOKENS), "tokens": TOKENS // 2}
            said = {"choice_logprobs": None, "reply": f"B {EVIL}", "prediction": "B"}
            silent = {"choice_logprobs": None, "reply": f"I do not know. {EVIL}", "prediction": None}
            failed = {
                "prediction": None,
                "choice_logprobs": None,
                "tokens": None,
                "kept": None,
                "evidence_recall": None,
            }
            rows += [
                row(cut, k, "full"),
                old(row(cut, k, "original")),
                row(cut, k, "rap", 0.4, prediction="ABC"[place % 3], **some),
                row(cut, k, "speechprune", 0.4, prediction="AB"[k], **kept),
                row(cut, k, "talker", **(said if k else silent)),
                row(cut, k, "silence", kept=None, evidence_recall=None),
                row(cut, k, "broken", **failed, error=f"out of memory {EVIL}"),
                *rotations(cut, k),
            ]
    return rows


def make_experiment(folder: Path, rows: list[dict], command: str = f"speechprune score {EVIL}") -> Path:
    """``folder``/exp/mini/test with rows and scores."""
    exp = folder / "exp" / "mini" / "test"
    for given in rows:
        path = exp / given["system"] / "hyp.1.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(given) + "\n")
    write_results(exp, command)
    return exp


def example(folder: Path) -> tuple[Path, Path]:
    """(experiment, cuts) of three recordings, the last of which cannot be read any more."""
    cuts = make_cuts(folder)
    write_cuts(folder / "cuts.jsonl.gz", cuts)
    (folder / "test-0002.wav").unlink()
    return make_experiment(folder, rows_of(cuts)), folder / "cuts.jsonl.gz"
