"""The pages of results: sections of one experiment, RESULTS.md of one and of several. Nothing is read or written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from speechprune.common.markdown import code_block, escape, one_line
from speechprune.scoring.blocks import Block, Notes, Paragraph, Section, Strong, Table, Text, as_markdown
from speechprune.scoring.cells import percent
from speechprune.scoring.details import details
from speechprune.scoring.doubts import undecoded_text, unpruned_text
from speechprune.scoring.published import published, set_title
from speechprune.scoring.tables import results_table, table_one, table_two

LISTED = 10  # kinds of errors, and unusable lines, that are printed; the rest is counted
LONGEST = 300  # characters of one message


def results_sections(document: dict, errors: Sequence[tuple[str, str]], problems: Sequence[str]) -> list[Section]:
    """The page of one experiment; the first section is the main table, whose heading Markdown leaves out.

    Args:
        document: score.json's content (``speechprune.scoring.stage.write_results``).
        errors: (message, question id) of every row with an error, in any order.
        problems: what was wrong with lines that could not be used, one text each.
    """
    table = results_table(document)
    notes = [*_notes(document), *_printed_notes([document], table)]
    sections = [Section("Results", "Results", [table, *_warnings(document), Notes(notes)]), *details(document)]
    if errors:
        sections.append(Section(f"Errors ({len(errors)} rows)", "Errors", [Notes(_error_lines(errors))]))
    if problems:
        heading = f"Problems in the hypothesis files ({len(problems)})"
        sections.append(Section(heading, "Problems", [Notes(_problem_lines(problems))]))
    return sections


def results_markdown(document: dict, errors: Sequence[tuple[str, str]], problems: Sequence[str]) -> str:
    """RESULTS.md of one experiment; arguments as ``results_sections``."""
    model, name = escape(document["model"]), escape(document["set"])
    first, *others = results_sections(document, errors, problems)
    top = [
        f"# Results: {name}, {model}",
        f"Model {model}, set {name}, {document['questions']} questions. Made by:",
        code_block(document["command"]),
    ]
    return _page([*top, *map(as_markdown, first.blocks)], others)


def comparison_markdown(documents: Sequence[dict], command: str) -> str:
    """RESULTS.md of several experiments: Table I's layout for each set, and Table II's."""
    names = [f"{one_line(document['model'])} on {one_line(set_title(document))}" for document in documents]
    by_set: dict[str, list[dict]] = defaultdict(list)
    for document in documents:
        by_set[set_title(document)].append(document)
    first, second = {name: table_one(*found) for name, found in by_set.items()}, table_two(documents)
    methods: list[Block] = []
    for name, table in first.items():
        methods += [Paragraph((Strong(name),)), table]
    notes: list[Text] = [
        "n: questions without error. 95 % CI: Wilson. PR: share of the model's ordinary audio input removed.",
        "Hard: the questions that Original, of the same model, answered wrongly.",
        *_printed_notes(documents, *first.values(), second),
    ]
    below: list[Block] = [Notes(notes)]
    for document, name in zip(documents, names, strict=True):
        below += [Paragraph((f"{name}: ", *warning.text)) for warning in _warnings(document)]
    sections = [
        Section("Methods and rates (the paper's Table I)", "Table I", methods),
        Section("Models and corpora (the paper's Table II)", "Table II", [second, *below]),
    ]
    return _page([f"# Results: {'; '.join(map(escape, names))}", "Made by:", code_block(command)], sections)


def _page(parts: Iterable[str], sections: Iterable[Section]) -> str:
    parts = list(parts)
    for section in sections:
        parts += [f"## {escape(section.title)}", *map(as_markdown, section.blocks)]
    return "\n\n".join(parts) + "\n"


def _printed_notes(documents: Sequence[dict], *tables: Table) -> list[Text]:
    """Where the paper's columns come from, if there are any."""
    if not any("the paper's" in name for table in tables for name in table.header):
        return []
    found = (published(document.get("corpus"), document["set"]) for document in documents)
    sources = ", ".join(sorted({about.source for about in found if about}))
    own = "on its own recordings, for the model in brackets; not measured here."
    return [f"The paper's: printed in {sources}, {own}"]


def _warnings(document: dict) -> list[Paragraph]:
    lines = []
    expected = document.get("expected") or {}
    if expected.get("undecoded"):
        lines.append(f"{undecoded_text(**expected)}.")
    lines += [
        f"{name} has no row for {absent} of the {document['questions']} questions; run stage 3 again."
        for name, absent in document["missing"].items()
    ]
    if unpruned := unpruned_text(document):
        lines.append(f"{unpruned}.")
    return [Paragraph((Strong("Warning:"), f" {line}")) for line in lines]


def _which_questions(expected: dict | None) -> str:
    """Which questions the rows are about; without cuts nobody knows whether there are more."""
    if expected is None:
        return "all questions that have rows"
    return f"of {expected['questions']} in the cuts" if expected["undecoded"] else "all questions"


def _notes(document: dict) -> list[Text]:
    questions, constant, chance = document["questions"], document["constant_letter"], document["chance"]
    hard = max(system["hard"]["n"] for system in document["systems"])
    guess = "" if chance is None else f" A guess scores {percent(chance)} % on average."
    hard_note = (
        f"the {hard} questions that Original answered wrongly, so Original has 0 there by definition."
        if hard
        else 'the questions that Original answered wrongly; "-": there are none, or Original was not decoded.'
    )
    spoken = ", ".join(map(one_line, document.get("resynthesised", [])))
    made = (Strong("Resynthesised"), f" by {spoken} from the transcripts: not the corpus' own recordings.")
    notes: list[Text] = [
        *([made] if spoken else []),
        "PR: pruning rate, the share of the model's ordinary audio input that is removed. Tokens: audio tokens kept, "
        "mean per question.",
        f"Accuracy: share of n questions answered correctly, with its 95 % Wilson interval. n is {questions} "
        f"({_which_questions(document.get('expected'))}) less the system's errors and missing rows.",
        f"Hard: accuracy on {hard_note}",
        "Evidence recall: mean share of the key sentence's audio tokens that were kept; precision: mean share of the "
        'kept tokens that are the key sentence\'s; "-" where it is not known.',
        "Unparsed: replies from which no choice could be read; they count as wrong.",
        "Errors: questions that could not be decoded; they are left out of n, neither right nor wrong.",
        f'Constant letter: answering "{constant["letter"]}" to every question scores '
        f"{percent(constant['accuracy'])} %, the best of all letters.{guess}",
    ]
    if any(system.get("ci95_recording") for system in document["systems"]):
        notes.insert(
            2,
            f"Questions share {document['recordings']} recordings and are not independent: "
            "the interval by recording (bootstrap) allows for that, Wilson's does not.",
        )
    return notes


def _shorten(message: str) -> str:
    return message if len(message) <= LONGEST else message[: LONGEST - 3] + "..."


def _error_lines(errors: Iterable[tuple[str, str]]) -> list[Text]:
    """One line per kind of message, the most frequent first, with a question id to look at."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for message, question in errors:
        kinds[message].append(question)
    ordered = sorted(kinds.items(), key=lambda kind: (-len(kind[1]), kind[0]))
    lines: list[Text] = [f"{len(ids)} x {_shorten(message)} (e.g. {min(ids)})" for message, ids in ordered[:LISTED]]
    if len(ordered) > LISTED:
        lines.append(f"and {len(ordered) - LISTED} more kinds")
    return lines


def _problem_lines(problems: Sequence[str]) -> list[Text]:
    lines: list[Text] = [_shorten(problem) for problem in problems[:LISTED]]
    if len(problems) > LISTED:
        lines.append(f"and {len(problems) - LISTED} more")
    return lines
