"""A generated reply -> the choice that it names, or none. What is unclear is never guessed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from speechprune.prompts import letters

_PLAIN = {0x2013: " - ", 0x2014: " - ", 0x2019: "'", 0x3002: ". "}  # dashes, apostrophe, ideographic full stop
_MARKUP = re.compile(r"[*_`\"“”]")
_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_TAGGED = re.compile(r"\\boxed\{([^{}]*)\}|<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)
_EXCLUDED = re.compile(r",?\s*(?:and |but )?(?:not|rather than|instead of)\s+(?:option |choice )?\(?[A-J]\)?(?!\w)")
# What leads to an answer, wherever it stands.
_NOUN = r"(?:answer|choice|option|letter)(?:\s+to\s+(?:the|this|your)\s+question)?"
_LEAD_IN = re.compile(
    rf"(?:\b{_NOUN}\s*(?:(?:is|would be|must be|should be)\b\s*:?|:)"
    r"|\b(?:it|this|that)(?:'s|\s+is|\s+must be)\b"
    r"|\bi(?:'d|\s+would|\s+will)?\s+(?:choose|pick|select|say|go with)\b"
    r"|答案\s*(?:应该|应)?(?:是|为|:)|(?:应该|应|我)?选择?)\s*[:.]*\s*(?:(?:option|choice|letter)\s+(?=\(?[A-J]\b))?",
    re.IGNORECASE,
)
_BARE = re.compile(r"(?:option|choice|letter)\s+(?=\(?[A-J]\b)", re.IGNORECASE)
# A letter, how it is set off, and what follows.
_LETTER = re.compile(r"(\([A-Ja-j]\)|\[[A-J]\]|'[A-J]'|[A-J]\)?)( -(?=\s)|[.:,;]*)(?:\s+(.*))?$")
_AFFIRMED = re.compile(r"(?:is|would be)\s+(?:the\s+)?(?:correct|right|best|answer)\b|(?:because|since)\b")
_SAID = re.compile(r"(?:is|was|would|isn't|can|could|may|might|does|doesn't|has|seems)\b")
_EDGES = " .,:;!?'()[]"  # not "-", "$" or "%": "-5" is not "5"


def parse_choice(reply: str, choices: Sequence[str]) -> int | None:
    """The index of the choice that a generated reply names, or None where it names none or more than one.

    Read are, at the beginning of a line or behind "The answer is", "It is", "I would choose", "答案是" and the like: a
    letter alone or set off by punctuation ("B", "B.", "(b)", "B: ..."), a letter with its choice ("B. blue", "B
    blue"), a choice's whole text ("blue", "Blue."). Where there is a \\boxed{} or an <answer>, only that is read.
    Nothing is guessed: "A or B", "B. red" where red is choice A, a choice mentioned in free text, or two answers that
    differ give None.
    """
    texts = [_line(choice).strip(_EDGES) for choice in choices]
    reply = _TEXT.sub(r"\1", reply)
    if tagged := [boxed or answer for boxed, answer in _TAGGED.findall(reply)]:
        named: set[int | None] = set()
        for text in tagged:
            named |= _named(_line(text), texts) or {None}
    else:
        named = {index for part in _parts(reply) for index in _named(part, texts)}
    return named.pop() if len(named) == 1 else None


def _parts(reply: str) -> Iterator[str]:
    """Where an answer may begin: every line, and what stands behind each lead-in."""
    lines = [line for line in map(_line, reply.splitlines()) if line]
    for number, line in enumerate(lines):
        yield _EXCLUDED.sub("", _BARE.sub("", line, count=1) if _BARE.match(line) else line)
        for match in _LEAD_IN.finditer(line):
            rest = line[match.end() :] or "".join(lines[number + 1 : number + 2])
            yield _EXCLUDED.sub("", rest)


def _line(text: str) -> str:
    """``text`` on one line, in plain characters, without Markdown emphasis and double quotes."""
    return " ".join(_MARKUP.sub("", unicodedata.normalize("NFKC", text).translate(_PLAIN)).split())


def _fold(text: str) -> str:
    return text.casefold().strip(_EDGES)


def _named(part: str, texts: list[str]) -> set[int]:
    """The choices that ``part`` names from its first character on."""
    sentence = re.split(r"(?<=[.!?;])\s", part, maxsplit=1)[0]
    said = {_fold(part), _fold(sentence)}
    return {index for index, text in enumerate(texts) if text and _fold(text) in said} | _lettered(part, texts)


def _lettered(part: str, texts: list[str]) -> set[int]:
    """The choice whose letter opens ``part``, and every other that the words behind it name; empty if none does."""
    known = letters(len(texts))
    match = _LETTER.match(part.upper() if len(_fold(part)) == 1 else part)
    letter = match[1].strip("()[]'").upper() if match else ""
    if match is None or not letter or letter not in known:
        return set()
    index = known.index(letter)
    rest = (match[3] or "").strip(_EDGES)
    set_off = match[1] != letter or match[2] or not rest
    affirmed = _fold(rest) == _fold(texts[index]) or _AFFIRMED.match(rest)
    if not affirmed and (not set_off or _SAID.match(rest)):
        return set()  # "A man came in": an article, not an answer; "A is wrong", "A) is wrong"
    starts = [text and re.match(rf"{re.escape(text)}(?!\w)", rest, re.IGNORECASE) for text in texts]
    ends = {other: found.end() for other, found in enumerate(starts) if found}
    spoken = max(ends, key=lambda other: ends[other], default=index)  # of "red" and "red wine", the longer
    behind = rest[ends.get(index, 0) :]
    others = re.findall(rf"(?<!\w)[{known}](?!\w)", re.split(r"[.!?]\s", behind, maxsplit=1)[0])
    return {index, spoken} | {known.index(other) for other in others}
