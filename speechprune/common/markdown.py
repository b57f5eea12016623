"""Markdown: text that stays text, whatever a corpus or a message holds, and the one writer of its tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def one_line(text: str) -> str:
    """``text`` without line breaks and other characters that cannot be printed, runs of blanks as one."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def escape(text: str) -> str:
    """``text`` on one line, its characters that mean something in Markdown escaped."""
    line = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|`*\[\]])", r"\\\1", line)


def code_block(text: str) -> str:
    """``text`` fenced by more backticks than it holds in a row."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"{fence}\n{text}\n{fence}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for files: cells without padding, so that a changed cell changes one line. The first column is left.

    Args:
        header, rows: cells as they shall stand; ``escape`` what is not your own.
    """
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(map(_line, [header, rule, *rows]))


def aligned_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for the terminal as well: cells stand below one another, on the right. See ``table``."""
    widths = [max([len(name) + 2, *(len(row[k]) for row in rows)]) for k, name in enumerate(header)]
    rule = "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|"
    lines = [_line(map(str.rjust, row, widths)) for row in [header, *rows]]
    return "\n".join([lines[0], rule, *lines[1:]])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
