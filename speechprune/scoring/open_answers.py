"""Mode open: generated answers against references, by exact match and token F1 as in SQuAD. No judge.

Both as Rajpurkar et al. 2016 (arXiv 1606.05250) count them, normalised as by their evaluate-v1.1.py: lower case,
without punctuation, the articles a, an and the, and runs of blanks; of several references the best counts.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from speechprune.scoring.tally import answered, by_system, fraction, mean, scored

RIGHT, WRONG = "right", "wrong"
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class OpenScore:
    """One system's questions without error.

    Attributes:
        n: how many; exact: share of them whose reply is a reference, with its 95 % Wilson interval; f1: mean token F1.
    """

    system: str
    rate: float | None
    n: int
    exact: float
    ci95: tuple[float, float]
    f1: float | None


def normalised(text: str) -> str:
    """As SQuAD compares texts."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(reply: str, references: Sequence[str]) -> bool:
    """Whether the reply is one of the references, normalised."""
    return normalised(reply) in map(normalised, references)


def token_f1(reply: str, references: Sequence[str]) -> float:
    """The best harmonic mean of precision and recall over the tokens that the reply shares with a reference."""
    return max((_f1(normalised(reply).split(), normalised(one).split()) for one in references), default=0.0)


def _f1(said: list[str], wanted: list[str]) -> float:
    shared = (Counter(said) & Counter(wanted)).total()
    return 2 * shared / (len(said) + len(wanted)) if shared else 0.0


def graded(rows: list[dict]) -> list[dict]:
    """Rows of mode open with ``answer`` and ``prediction`` "right" or "wrong", by exact match; None if empty."""
    return [row if row["error"] is not None else _graded(row) for row in rows]


def _graded(row: dict) -> dict:
    said = row.get("reply") or ""
    verdict = RIGHT if exact_match(said, row.get("answers") or []) else WRONG
    return row | {"answer": RIGHT, "prediction": verdict if said.strip() else None}


def open_scores(rows: list[dict]) -> list[OpenScore]:
    """Every system that has an answer, in table order; ``rows``: of one experiment, all of mode open."""
    found = []
    for key, group in by_system(rows).items():
        counted = [row for question in answered(group).values() for row in question]
        exact = scored([float(exact_match(row.get("reply") or "", row.get("answers") or [])) for row in counted])
        f1 = fraction(mean(token_f1(row.get("reply") or "", row.get("answers") or []) for row in counted))
        if exact:
            found.append(OpenScore(*key, len(counted), *exact, f1))
    return found
