"""Question and choices -> the text a model reads; a model's reply -> a choice. Prompts are worded here alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

LETTERS = "ABCDEFGHIJ"
QUERIES = ("question", "question+choices")

# What may stand before the answer itself: "The correct answer is", "Answer:", "I would choose option".
_LEAD_IN = re.compile(
    r"^(?:(?:so|therefore|thus)\b[, ]*)?(?:"
    r"(?:(?:the|my)\s+)?(?:(?:correct|right|best|final)\s+)?(?:answer|choice|option)\s*(?:(?:is|would be)\b\s*:?|:)|"
    r"i\s+(?:would\s+)?(?:choose|pick|select)\b|)\s*(?:(?:option|choice)\s+(?=\(?[A-J]\b))?",
    re.IGNORECASE,
)
# A letter, how it is set off, and what follows.
_LETTER = re.compile(r"(\([A-Ja-j]\)|[A-J]\)?)([.:,;]*)(?:\s+(.*))?$")
_VERB = re.compile(r"(?:is|because|since)\b")  # "B is correct", "B because ..."
_EDGES = " .,:;!?'()[]"  # not "-", "$" or "%": "-5" is not "5"


def letters(n: int) -> str:
    """The letters of ``n`` choices: ``letters(4) == "ABCD"``. ValueError unless 1 <= n <= 10."""
    if not 1 <= n <= len(LETTERS):
        raise ValueError(f"{n} choices; letters stand for 1 to {len(LETTERS)}")
    return LETTERS[:n]


def check_question(question: str, choices: Sequence[str]) -> None:
    """ValueError, with one clear line, unless ``question`` has text and ``choices`` are 2 to 10 different texts."""
    if not question.strip():
        raise ValueError("the question is empty; give the text that the model shall answer")
    if not 2 <= len(choices) <= len(LETTERS):
        raise ValueError(f"{len(choices)} choices for {question!r}; give 2 to {len(LETTERS)}")
    for index, choice in enumerate(choices):
        if not choice.strip():
            raise ValueError(f"choice {LETTERS[index]} of {question!r} is empty")
        if choice in choices[:index]:
            raise ValueError(f"choice {LETTERS[index]} of {question!r} repeats {choice!r}; choices must differ")


def format_question(question: str, choices: Sequence[str]) -> str:
    """The text part of the prompt: the question, one lettered line a choice, and what to answer with.

    Raises:
        ValueError: as ``check_question``.
    """
    check_question(question, choices)
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return "\n".join([question, *lines, "Answer with the letter."])


def query_text(question: str, choices: Sequence[str], query: str) -> str:
    """The real text that pruners compare the audio with.

    Args:
        query: "question" (the paper's reading), or "question+choices": the choices follow, without their letters.
    Raises:
        ValueError: another ``query``.
    """
    if query not in QUERIES:
        raise ValueError(f"unknown query {query!r}; choose from: {', '.join(QUERIES)}")
    return question if query == "question" else " ".join([question, *choices])


def parse_choice(reply: str, choices: Sequence[str]) -> int | None:
    """The index of the choice that a generated reply names, or None where it names none or more than one.

    Read are: a letter alone or set off by punctuation ("B", "B.", "(b)", "B: ..."), a letter with its choice
    ("B. blue", "B blue"), a choice's whole text ("blue", "Blue."), each also after "The answer is" and its like.
    Nothing is guessed: "A or B", "B. red" where red is choice A, and free text give None.
    """
    whole = _plain(reply)
    core = _LEAD_IN.sub("", whole, count=1)
    texts = [_plain(choice).strip(_EDGES) for choice in choices]
    said = {_fold(whole), _fold(core)}
    named = {index for index, text in enumerate(texts) if text and _fold(text) in said}
    named |= _lettered(core, texts)
    return named.pop() if len(named) == 1 else None


def _plain(text: str) -> str:
    """``text`` on one line, without Markdown emphasis and double quotes; a line's end sets off like a full stop."""
    lines = [" ".join(line.split()) for line in re.sub(r"[*_`\"“”]", "", text).splitlines()]
    return ". ".join(line for line in lines if line)


def _fold(text: str) -> str:
    return text.casefold().strip(_EDGES)


def _lettered(core: str, texts: list[str]) -> set[int]:
    """The choice whose letter opens ``core``, and every other that the words behind it name; empty if none does."""
    known = letters(len(texts))
    match = _LETTER.match(core.upper() if len(_fold(core)) == 1 else core)
    letter = match[1].strip("()").upper() if match else ""
    if not letter or letter not in known:
        return set()
    index = known.index(letter)
    rest = (match[3] or "").strip(_EDGES)
    set_off = match[1] != letter or match[2] or not rest
    if not set_off and _fold(rest) != _fold(texts[index]) and not _VERB.match(rest):
        return set()  # "A man came in": an article, not an answer
    starts = [text and re.match(rf"{re.escape(text)}(?!\w)", rest, re.IGNORECASE) for text in texts]
    ends = {other: found.end() for other, found in enumerate(starts) if found}
    spoken = max(ends, key=ends.get, default=index)  # of "red" and "red wine", the longer
    others = re.findall(rf"(?<!\w)[{known}](?!\w)", rest[ends.get(index, 0) :])
    return {index, spoken} | {known.index(other) for other in others}
