"""RESULTS.md as the sections of the page: the same words and tables, with markup that a browser can lay out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

_LINE = 120  # characters
# Starts of headings, and what stands for them where there is little room.
_SHORT = {
    "Balanced accuracy": "Balanced",
    "Costs of the prefill": "Costs",
    "What the benchmark alone gives away": "Give-aways",
    "Accuracy by position": "Position",
    "Accuracy by duration": "Duration",
    "Problems in the hypothesis files": "Problems",
    "Errors": "Errors",
}


@dataclass(frozen=True)
class HtmlTable:
    """Header and rows of cells; all of them safe to print as they are."""

    header: list[Markup]
    rows: list[list[Markup]]

    @property
    def dense(self) -> bool:
        """Whether a line is too long for a page of usual width and letters of usual size."""
        return sum(max(len(cell) for cell in column) for column in zip(*self.rows, strict=True)) > _LINE


@dataclass
class Section:
    """What stands under one heading.

    Attributes:
        anchor: id in the page.
        title: of the heading; empty for what comes before the first.
        parts: tables, and paragraphs as they are printed.
        notes: bullet points, as they are printed.
    """

    anchor: str
    title: Markup
    parts: list[HtmlTable | Markup] = field(default_factory=list)
    notes: list[Markup] = field(default_factory=list)

    @property
    def link(self) -> Markup:
        """The title, or what is short for it."""
        return next((Markup(short) for start, short in _SHORT.items() if self.title.startswith(start)), self.title)  # noqa: S704


def sections(markdown: str) -> list[Section]:
    """The sections of a page of ``speechprune.scoring.results``, from its first table on.

    Tags in ``markdown`` are no tags in the result: they stay text.
    """
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    found = [Section("results", Markup("Results"))]
    tokens = reader.parse(markdown)
    start = next((i for i, token in enumerate(tokens) if token.type == "table_open"), len(tokens))
    for block in _blocks(tokens[start:]):
        kind = block[0].type
        if kind == "heading_open":
            found.append(Section(f"tables-{len(found)}", _inline(reader, block)))
        elif kind == "table_open":
            found[-1].parts.append(_table(reader, block))
        elif kind == "bullet_list_open":
            found[-1].notes += [_inline(reader, [token]) for token in block if token.type == "inline"]
        else:
            found[-1].parts.append(_markup(reader.renderer.render(block, reader.options, {})))
    return found


def _blocks(tokens: Sequence[Token]) -> list[list[Token]]:
    """Tokens of each block: from what opens it at the lowest level to what closes it."""
    blocks: list[list[Token]] = []
    depth = 0
    for token in tokens:
        if depth == 0:
            blocks.append([])
        blocks[-1].append(token)
        depth += token.nesting
    return blocks


def _table(reader: MarkdownIt, block: Sequence[Token]) -> HtmlTable:
    rows: list[list[Markup]] = []
    for token in block:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_inline(reader, [token]))
    return HtmlTable(rows[0], rows[1:])


def _inline(reader: MarkdownIt, block: Sequence[Token]) -> Markup:
    inline = next(token for token in block if token.type == "inline")
    return _markup(reader.renderer.renderInline(inline.children or [], reader.options, {}))


def _markup(html: str) -> Markup:
    return Markup(html)  # noqa: S704 - markdown-it escapes: its option "html" is off
