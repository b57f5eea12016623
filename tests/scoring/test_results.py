"""RESULTS.md: layout, escaping, and the same bytes as ever."""

from __future__ import annotations

import json

from helpers.documents import document, system
from helpers.shells import ROOT

from speechprune.common.markdown import escape
from speechprune.scoring import results
from speechprune.scoring.titles import title


def test_the_page_has_table_one_layout():
    page = results.results_markdown(
        document(
            system("original", accuracy=0.47, tokens=750, hard={"n": 40, "accuracy": 0.0}),
            system("speechprune", 0.4, 0.8597, ci95=[0.811, 0.902], tokens=450.5),
            system("silence", accuracy=None, tokens=None, hard={"n": 0, "accuracy": None}, evidence_recall=None),
        ),
        errors=[],
        problems=[],
    )
    lines = page.splitlines()
    start = lines.index(
        "| System | PR | Tokens | n | Accuracy % | 95 % CI | Hard n | Hard % | Evidence recall % | Unparsed | Errors |"
    )
    assert lines[start + 2 : start + 6] == [
        "| Original | - | 750 | 100 | 47.00 | 37.00 to 55.00 | 40 | 0.00 | 75.00 | 2 | 1 |",
        "| SpeechPrune | 0.4 | 450.5 | 100 | 85.97 | 81.10 to 90.20 | 40 | 25.00 | 75.00 | 2 | 1 |",
        "| silence | - | - | 100 | - | - | 0 | - | - | 2 | 1 |",
        '| Constant letter "C" | - | - | 101 | 29.70 | - | - | - | - | - | - |',
    ]
    assert lines[0] == "# Results: test, mini"
    assert "speechprune score exp/mini/test" in lines
    assert "101 questions" in page
    assert "the 40 questions that Original answered wrongly" in page
    assert "Warning" not in page
    assert "##" not in page


def test_titles_are_readable_and_unknown_names_stay():
    names = ["original", "full", "rap", "rac", "phase1", "phase2", "speechprune", "mine"]
    assert [title(name) for name in names] == [
        *("Original", "Full", "RAP", "RAC", "Phase 1 only", "Phase 2 only", "SpeechPrune", "mine"),
    ]


def test_missing_rows_are_warned_of():
    page = results.results_markdown(document(system("rap", 0.4), missing={"rap_0.4": 7}), [], [])
    assert "**Warning:** rap_0.4 has no row for 7 of the 101 questions" in page


def test_errors_are_grouped_by_message_with_an_example():
    errors = [("no audio", "test-0002-q1"), ("empty wav", "test-0005-q0"), ("no audio", "test-0002-q0")]
    page = results.results_markdown(document(system("rap", 0.4)), errors, [])
    lines = page.splitlines()
    start = lines.index("## Errors (3 rows)")
    assert lines[start + 2 :] == ["- 2 x no audio (e.g. test-0002-q0)", "- 1 x empty wav (e.g. test-0005-q0)"]


def test_at_most_ten_kinds_of_errors_are_listed():
    errors = [(f"kind {i:02d}", f"test-{i:04d}-q0") for i in range(13)]
    page = results.results_markdown(document(system("rap", 0.4)), errors, [f"problem {i}" for i in range(11)])
    assert page.count("- 1 x kind") == 10
    assert "- and 3 more kinds" in page
    assert page.endswith("- problem 9\n- and 1 more\n")


def test_text_from_data_stays_text():
    assert escape("a|b\nc\r\n<script>`x`</script> & [l](u) *b* \\|") == (
        r"a\|b c &lt;script&gt;\`x\`&lt;/script&gt; &amp; \[l\](u) \*b\* \\\|"
    )
    assert escape("\ud800 null\x00 byte").encode("utf-8") == b"null byte"


def test_a_hostile_name_cannot_break_the_table_or_the_code_block():
    hostile = "x|y"
    page = results.results_markdown(
        document(system(hostile, 0.4), model="m|\n# no heading", command="score '```\n# no heading'"),
        [("bad | pipe\nsecond line <b>", "test-0000-q0")],
        [],
    )
    lines = page.splitlines()
    assert r"| x\|y | 0.4 | 450 | 100 |" in page
    assert r"- 1 x bad \| pipe second line &lt;b&gt; (e.g. test-0000-q0)" in lines
    fence = lines.index("````")
    assert lines[fence : fence + 4] == ["````", "score '```", "# no heading'", "````"]
    assert lines.count("# no heading") == 0


def test_the_published_page_has_the_same_bytes():
    scores = json.loads((ROOT / "egs/mini_sir/score.json").read_text())
    assert results.results_markdown(scores, [], []) == (ROOT / "egs/mini_sir/RESULTS.md").read_text()


HOSTILE = document(
    system("x|y", 0.4),
    model="m|",
    command="score '```'",
    resynthesised=["e|s", "k*"],
    missing={"rap_0.4": 7},
    expected={"cuts": "a|b", "questions": 22, "undecoded": 10},
)
PAGE = r"""# Results: test, m\|

Model m\|, set test, 101 questions. Made by:

````
score '```'
````

| System | PR | Tokens | n | Accuracy % | 95 % CI | Hard n | Hard % | Evidence recall % | Unparsed | Errors |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| x\|y | 0.4 | 450 | 100 | 50.00 | 40.00 to 58.00 | 40 | 25.00 | 75.00 | 2 | 1 |
| Constant letter "C" | - | - | 101 | 29.70 | - | - | - | - | - | - |

**Warning:** 10 of the 22 questions of a\|b have no row of any system: decode is not finished; run stage 3 again.

**Warning:** rap_0.4 has no row for 7 of the 101 questions; run stage 3 again.

- **Resynthesised** by e\|s, k\* from the transcripts: not the corpus' own recordings.
- PR:"""
END = r"""

## Errors (1 rows)

- 1 x bad \| &lt;b&gt; (e.g. q-1)

## Problems in the hypothesis files (1)

- hyp.1.jsonl:3: \[x\]
"""


def test_the_page_of_text_that_tries_to_be_markup_has_the_same_bytes():
    page = results.results_markdown(HOSTILE, [("bad |\n<b>", "q-1")], ["hyp.1.jsonl:3: [x]"])
    assert page.startswith(PAGE)
    assert page.endswith(END)
