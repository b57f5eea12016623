"""The blocks of a page of results as HTML: what the template cannot say by itself."""

from __future__ import annotations

from markupsafe import Markup, escape

from speechprune.common.markdown import one_line
from speechprune.scoring.blocks import Code, Strong, Table, Text, spans

_LINE = 120  # characters


def inline(text: Text) -> Markup:
    """A text with its marked parts; what it holds stays text."""
    return Markup("").join(map(_span, spans(text)))


def _span(span: str) -> Markup:
    if isinstance(span, Code):
        return Markup("<code>{}</code>").format(one_line(span))
    if isinstance(span, Strong):
        return Markup("<strong>{}</strong>").format(one_line(span))
    return escape("".join(c if c.isprintable() else " " for c in span))


def is_dense(table: Table) -> bool:
    """Whether a line is too long for a page of usual width and letters of usual size."""
    return sum(max(map(len, column)) for column in zip(*table.rows, strict=True)) > _LINE
