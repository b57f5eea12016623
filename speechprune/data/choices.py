"""Choices in one text, ``(A) red\\n(B) blue`` or ``A. red; B. blue;``, and answers in the same style."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from speechprune.common.files import shown
from speechprune.prompts import LETTERS

# A letter with its bracket or point: "(A)", "A.", "A)", "A:", full-width forms too. Without a bracket before it, it
# begins the text or follows a blank or punctuation; "9 A.M." is no choice A, "in Washington D.C." neither C nor D.
_LETTER = "[A-J\uff21-\uff2a]"
_MARK = re.compile(
    rf"[(\uff08]\s*(?P<bracketed>{_LETTER})\s*[)\uff09]\s*"
    r"|(?<![\s.][A-Z]\.)(?:(?<=[\s;,.?!:\u3001\u3002\uff01\uff0c\uff0e\uff1a\uff1b\uff1f])|^)"
    rf"(?P<bare>{_LETTER})\s?[.):\u3001\uff09\uff0e\uff1a](?!\s?[Mm]\b|[A-Za-z]\.)\s*"
)
_SEPARATORS = " \t\r\n;\uff1b\u3000\u00a0"
_STOPS = ".\u3002\uff0e"


def split_choices(text: str) -> tuple[str, list[str]]:
    """Cut a text into what stands before choice A (a question, or nothing) and the choices without their letters.

    Separators (``;``, line ends, blanks) go; so does a full stop that closes the whole list, which is one that no
    other choice ends in. All other characters of a choice stay as they are.

    Raises:
        ValueError: fewer than two choices, a letter that is missing or repeated, or an empty choice.
    """
    marks = [(m, unicodedata.normalize("NFKC", m["bracketed"] or m["bare"])) for m in _MARK.finditer(text)]
    chain: list[re.Match] = []
    # The last A that B and so on follow: a question before the choices may hold an "A." of its own.
    for start in reversed([i for i, (_, letter) in enumerate(marks) if letter == "A"]):
        found = _follow(marks[start:])
        if len(found) > len(chain) and (len(found) > 1 or not chain):
            chain = found
    rest = [
        (m, letter)
        for m, letter in marks
        if m not in chain and (not chain or (m.start() > chain[0].start() and _in_style(m, chain[0])))
    ]
    later = [letter for m, letter in rest if not chain or m.start() > chain[-1].start()]
    if len(chain) < 2 or any(letter > LETTERS[len(chain) - 1] for letter in later):
        seen = ", ".join(letter for _, letter in marks) or "none"
        raise ValueError(f"choice {LETTERS[len(chain)]} is missing in {shown(text)!r}; letters found: {seen}")
    if rest and chain[0]["bracketed"]:
        raise ValueError(f"choice {rest[0][1]} stands twice in {shown(text)!r}")
    ends = [*(m.start() for m in chain[1:]), len(text)]
    choices = [text[m.end() : end].strip(_SEPARATORS) for m, end in zip(chain, ends, strict=True)]
    closed = choices[-1].endswith(tuple(_STOPS)) and not any(c.endswith(tuple(_STOPS)) for c in choices[:-1])
    if closed and not re.search(r"\.\s?[A-Za-z]\.$", choices[-1]):  # "in Washington D.C." keeps its own
        choices[-1] = choices[-1][:-1].rstrip()
    for letter, choice in zip(LETTERS, choices, strict=False):
        if not choice:
            raise ValueError(f"choice {letter} is empty in {shown(text)!r}")
    return text[: chain[0].start()].strip(), choices


def _follow(marks: Sequence[tuple[re.Match, str]]) -> list[re.Match]:
    """A, B, C, ... in this order, as far as they go, in the style of the A."""
    chain: list[re.Match] = []
    for mark, letter in marks:
        if (not chain or _in_style(mark, chain[0])) and len(chain) < len(LETTERS) and letter == LETTERS[len(chain)]:
            chain.append(mark)
    return chain


def _in_style(mark: re.Match, first: re.Match) -> bool:
    return bool(mark["bracketed"]) == bool(first["bracketed"])


def answer_index(answer: str, choices: Sequence[str]) -> int:
    """Which of ``choices`` an answer names: ``B``, ``(B)``, ``(B) blue``, ``B. blue`` or ``blue``.

    Raises:
        ValueError: no choice, or a letter whose choice has another text.
    """
    text = answer.strip(_SEPARATORS)
    plain = [_plain(choice) for choice in choices]
    if plain.count(_plain(text)) == 1:
        return plain.index(_plain(text))
    mark = _MARK.match(text)
    letter, rest = (mark["bracketed"] or mark["bare"], text[mark.end() :]) if mark else (text, "")
    index = LETTERS.find(unicodedata.normalize("NFKC", letter)) if len(letter) == 1 else -1
    if 0 <= index < len(choices) and (not rest or _plain(rest) == plain[index]):
        return index
    raise ValueError(f"answer {shown(answer)!r} is not among the choices {shown(list(choices))}")


def _plain(text: str) -> str:
    """What has to agree: a closing full stop and the kind of blanks need not."""
    return " ".join(text.split()).strip(_SEPARATORS + _STOPS)
