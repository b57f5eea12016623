"""Question and choices -> the text a model reads. Prompts are worded here alone."""

from __future__ import annotations

from collections.abc import Sequence

LETTERS = "ABCDEFGHIJ"
_MARKS = ".,;:?!\"'()"
QUERIES = ("question", "question+choices", "content", "content+choices")


def letters(n: int) -> str:
    """The letters of ``n`` choices: ``letters(4) == "ABCD"``. ValueError unless 1 <= n <= 10."""
    if not 1 <= n <= len(LETTERS):
        raise ValueError(f"{n} choices; letters stand for 1 to {len(LETTERS)}")
    return LETTERS[:n]


def check_question(question: str, choices: Sequence[str] | None) -> None:
    """ValueError, with one clear line, unless ``question`` has text and ``choices`` are 2 to 10 different texts, or
    None."""
    if not question.strip():
        raise ValueError("the question is empty; give the text that the model shall answer")
    if choices is None:
        return
    if not 2 <= len(choices) <= len(LETTERS):
        raise ValueError(f"{len(choices)} choice{'s' * (len(choices) != 1)} for {question!r}; give 2 to {len(LETTERS)}")
    stripped = [choice.strip() for choice in choices]
    for index, choice in enumerate(stripped):
        if not choice:
            raise ValueError(f"choice {LETTERS[index]} of {question!r} is empty")
        if choice in stripped[:index]:
            raise ValueError(f"choice {LETTERS[index]} of {question!r} repeats {choice!r}; choices must differ")


def format_question(question: str, choices: Sequence[str] | None) -> str:
    """The text part of the prompt: the question, one lettered line a choice, and what to answer with.

    Args:
        choices: None for a cloze prompt, which does not show them: the model is asked how likely each is as its answer.
    Raises:
        ValueError: as ``check_question``.
    """
    check_question(question, choices)
    if choices is None:
        return f"{question}\nAnswer in a few words."
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return "\n".join([question, *lines, "Answer with the letter."])


def query_parts(question: str, choices: Sequence[str], query: str) -> list[str]:
    """The real text that pruners compare the audio with, in its parts: the question, then each choice.

    Args:
        query: "question" (the paper's reading), or "content": its ``content_words``. With "+choices" the choices
            follow, without their letters.
    Raises:
        ValueError: another ``query``.
    """
    if query not in QUERIES:
        raise ValueError(f"unknown query {query!r}; choose from: {', '.join(QUERIES)}")
    asked, _, more = query.partition("+")
    said = content_words(question) if asked == "content" else question
    return [said, *(f" {choice}" for choice in choices)] if more else [said]


def content_words(question: str) -> str:
    """``question`` without its function words, by scikit-learn's English list; whole where it has no others."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    words = [word for word in question.split() if word.strip(_MARKS).lower() not in ENGLISH_STOP_WORDS]
    return " ".join(words) or question


def query_text(question: str, choices: Sequence[str], query: str) -> str:
    """``query_parts``, joined."""
    return "".join(query_parts(question, choices, query))
