"""Markdown: cells stay as they are, and text stays text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from speechprune.common.markdown import aligned_table, code_block, escape, one_line, table


def test_a_table_for_files_has_no_padding():
    rows = [("a", "60.380"), ("", "-"), ("long name", "1e5")]
    assert table(("Name", "n"), rows) == ("| Name | n |\n| --- | ---: |\n| a | 60.380 |\n|  | - |\n| long name | 1e5 |")


def test_a_table_for_the_terminal_stands_in_columns():
    assert aligned_table(["a", "bb"], [["100", "2.0"]]) == "|   a |   bb |\n|----:|-----:|\n| 100 |  2.0 |"


TEXT = st.text(st.characters(exclude_characters="_"))  # stays as it is, for names such as no_evidence


@given(st.lists(st.lists(TEXT, min_size=3, max_size=3), min_size=1, max_size=4))
def test_cells_come_back_from_a_reader_of_markdown(rows):
    page = table(["a", "b", "c"], [[escape(cell) for cell in row] for row in rows])
    tokens = MarkdownIt("commonmark", {"html": False}).enable("table").parse(page)
    cells = [token for token in tokens if token.type == "inline"]
    assert all(child.type in ("text", "text_special") for cell in cells for child in cell.children)
    found = ["".join(child.content for child in cell.children) for cell in cells]
    assert found[3:] == [one_line(cell) for row in rows for cell in row]


def test_code_is_fenced_by_more_backticks_than_it_holds():
    assert code_block("a ``` b") == "````\na ``` b\n````"
