"""What pages of results are made of: sections of tables, paragraphs and notes. Markdown and HTML are two prints of it.

Text is plain, whatever it holds: whoever prints it escapes it. Where a part of it is to stand out, it is a tuple of
plain text, ``Strong`` and ``Code``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from speechprune.common import markdown

_TEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


class Strong(str):
    """Text in bold."""

    __slots__ = ()


class Code(str):
    """Text that could be typed."""

    __slots__ = ()


Text = str | tuple[str, ...]


def spans(text: Text) -> tuple[str, ...]:
    """The parts of a text."""
    return (text,) if isinstance(text, str) else text


@dataclass(frozen=True)
class Paragraph:
    """Text that stands for itself."""

    text: Text


@dataclass(frozen=True)
class Notes:
    """Lines of text, each a bullet point."""

    lines: list[Text]


@dataclass(frozen=True)
class Table:
    """Cells of plain text under a header; the first column is a name, the others are numbers."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def without_empty_columns(self, *names: str) -> Table:
        """The table without those of the columns ``names`` that hold nothing but "-"."""
        keep = [
            place
            for place, name in enumerate(self.header)
            if name not in names or any(row[place] != "-" for row in self.rows)
        ]
        rows = [tuple(row[place] for place in keep) for row in self.rows]
        return Table(tuple(self.header[place] for place in keep), rows)

    def csv(self) -> str:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([self.header, *self.rows])
        return _storable(buffer.getvalue())

    def latex(self) -> str:
        """A ``tabular`` that needs no package."""

        def line(cells: Iterable[str]) -> str:
            return " & ".join("".join(_TEX.get(c, c) for c in markdown.one_line(cell)) for cell in cells) + r" \\"

        columns = "l" + "r" * (len(self.header) - 1)
        body = [line(self.header), r"\hline", *map(line, self.rows)]
        return _storable(
            "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\hline", *body, r"\hline", r"\end{tabular}", ""])
        )


Block = Table | Paragraph | Notes


@dataclass(frozen=True)
class Section:
    """What stands under one heading.

    Attributes:
        title: of the heading.
        short: what stands for it where there is little room.
        blocks: in the order of reading.
    """

    title: str
    short: str
    blocks: list[Block]


def as_markdown(block: Block) -> str:
    """A block as Markdown, without a line break at its end."""
    if isinstance(block, Table):
        cells = [[markdown.escape(cell) for cell in row] for row in (block.header, *block.rows)]
        return markdown.table(cells[0], cells[1:])
    if isinstance(block, Notes):
        return "\n".join(f"- {_inline(line)}" for line in block.lines)
    return _inline(block.text)


def _inline(text: Text) -> str:
    return "".join(map(_span, spans(text))).strip()


def _span(span: str) -> str:
    if isinstance(span, Code):
        return f"`{markdown.one_line(span)}`"
    escaped = markdown.escape(span)
    if isinstance(span, Strong):
        return f"**{escaped}**"
    # Blanks at its ends part it from its neighbours.
    return f"{' ' * span[:1].isspace()}{escaped}{' ' * span[-1:].isspace()}"


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
