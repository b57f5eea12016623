"""The pages of results: sections of one experiment, RESULTS.md of one and of several. Nothing is read or written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from speechprune.common.markdown import code_block, escape, one_line
from speechprune.scoring.blocks import Block, Notes, Paragraph, Section, Strong, Table, Text, as_markdown
from speechprune.scoring.cells import percent
from speechprune.scoring.details import details
from speechprune.scoring.doubts import undecoded_text, unpruned_text
from speechprune.scoring.published import published, set_title
from speechprune.scoring.reproduced import reproduced_section
from speechprune.scoring.tables import results_table, table_one, table_two
from speechprune.scoring.titles import by_mark, has_letters, mode_title, ways_of

LISTED = 10  # kinds of errors, and unusable lines, that are printed; the rest is counted
LONGEST = 300  # characters of one message


def results_sections(document: dict, errors: Sequence[tuple[str, str]], problems: Sequence[str]) -> list[Section]:
    """The page of one experiment; the first section is the main table, whose heading Markdown leaves out.

    Args:
        document: score.json's content (``speechprune.scoring.stage.write_results``).
        errors: (message, question id) of every row with an error, in any order.
        problems: what was wrong with lines that could not be used, one text each.
    """
    ways = ways_of(document)
    sections = [section for part in ways for section in _sections(part, len(ways) > 1)]
    if errors:
        sections.append(Section(f"Errors ({len(errors)} rows)", "Errors", [Notes(_error_lines(errors))]))
    if problems:
        heading = f"Problems in the hypothesis files ({len(problems)})"
        sections.append(Section(heading, "Problems", [Notes(_problem_lines(problems))]))
    return sections


def _sections(document: dict, several: bool) -> list[Section]:
    """Those of one way to answer; headings say which where it is not by letters, or where there are ``several``."""
    table = results_table(document)
    notes = [*_notes(document), *_printed_notes([document], table)]
    first = Section("Results", "Results", [table, *_warnings(document), Notes(notes)])
    mark = by_mark(document, several)
    return [replace(s, title=f"{s.title}{mark}", short=f"{s.short}{mark}") for s in (first, *details(document))]


def alike(documents: Sequence[dict]) -> dict[str, list[dict]]:
    """{how the systems answer: the documents of this kind}: what may stand in one table."""
    found: dict[str, list[dict]] = defaultdict(list)
    for part in sorted((part for d in documents for part in ways_of(d)), key=lambda part: by_mark(part) != ""):
        found[mode_title(part)].append(part)
    return found


def results_markdown(document: dict, errors: Sequence[tuple[str, str]], problems: Sequence[str]) -> str:
    """RESULTS.md of one experiment; arguments as ``results_sections``."""
    model, name = escape(document["model"]), escape(document["set"])
    first, *others = results_sections(document, errors, problems)
    top = [
        f"# Results: {name}, {model}{by_mark(document, 'others' in document)}",
        f"Model {model}, set {name}, {document['questions']} questions. Made by:",
        code_block(document["command"]),
    ]
    return _page([*top, *map(as_markdown, first.blocks)], others)


def comparison_markdown(documents: Sequence[dict], command: str) -> str:
    """RESULTS.md of several experiments: Table I's layout for each set, and Table II's."""
    names = [f"{one_line(document['model'])} on {one_line(set_title(document))}" for document in documents]
    by_set: dict[str, list[dict]] = defaultdict(list)
    kinds = alike(documents)
    for parts in kinds.values():
        for part in parts:
            by_set[set_title(part) + by_mark(part, len(kinds) > 1)].append(part)
    first = {name: table_one(*found) for name, found in by_set.items()}
    second = {kind: table_two(parts) for kind, parts in kinds.items()}
    methods: list[Block] = []
    for name, table in first.items():
        methods += [Paragraph((Strong(name),)), table]
    models: list[Block] = []
    for kind, table in second.items():
        models += [*([Paragraph((Strong(f"By {kind}"),))] if len(kinds) > 1 or by_mark(kinds[kind][0]) else []), table]
    notes: list[Text] = [
        "n: questions without error. 95 % CI: Wilson. PR: share of the model's ordinary audio input removed.",
        "Hard: the questions that Original, of the same model, answered wrongly.",
        *_printed_notes(documents, *first.values(), *second.values()),
    ]
    below: list[Block] = [Notes(notes)]
    for document, name in zip(documents, names, strict=True):
        for part in ways_of(document):
            text = f"{name}{by_mark(part, 'others' in document)}: "
            below += [Paragraph((text, *warning.text)) for warning in _warnings(part)]
    sections = [
        Section("Methods and rates (the paper's Table I)", "Table I", methods),
        Section("Models and corpora (the paper's Table II)", "Table II", [*models, *below]),
    ]
    if found := reproduced_section([part for parts in kinds.values() for part in parts]):
        sections.append(found)
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
    questions, chance = document["questions"], document["chance"]
    hard = max(system["hard"]["n"] for system in document["systems"])
    guess = "" if chance is None else f"A guess scores {percent(chance)} % on average."
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
        *_blind_note(document, guess),
    ]
    if any(system.get("ci95_recording") for system in document["systems"]):
        notes.insert(
            2,
            f"Questions share {document['recordings']} recordings and are not independent: "
            "the interval by recording (bootstrap) allows for that, Wilson's does not.",
        )
    return notes


def _blind_note(document: dict, guess: str) -> list[str]:
    """What who hears nothing scores: the best letter, where there are letters, and a guess."""
    if not has_letters(document):
        return [guess] if guess else []
    constant = document["constant_letter"]
    named = f'Constant letter: answering "{constant["letter"]}" to every question scores '
    return [f"{named}{percent(constant['accuracy'])} %, the best of all letters. {guess}".rstrip()]


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
