"""What was found about one thing, and what to do about it; and questions that may not be answered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Finding:
    """One line of ``speechprune doctor``.

    Attributes:
        about: what was looked at.
        status: "ok"; "note": a run goes without it; "missing": a run fails without it.
        found: what is there.
        do: what to do; "" where nothing is to be done.
    """

    about: str
    status: Literal["ok", "note", "missing"]
    found: str
    do: str = ""


def within(seconds: float, question: Callable[[], Answer]) -> Answer:
    """What ``question`` returns or raises. TimeoutError after ``seconds``; it is then left alone."""
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(question())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return answers[0]


def size(count: float) -> str:
    """``16.8 GB``."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.0f} MB"
