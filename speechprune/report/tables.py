"""score.json's content as Markdown (Table I's layout) and CSV. Text only: nothing is read or written here."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

TITLES = {
    "original": "Original",
    "full": "Full",
    "rap": "RAP",
    "rac": "RAC",
    "phase1": "Phase 1 only",
    "phase2": "Phase 2 only",
    "speechprune": "SpeechPrune",
}
HEADER = (
    "System",
    "PR",
    "Tokens",
    "Accuracy %",
    "95 % CI",
    "Hard %",
    "Evidence recall %",
    "Unparsed",
    "Errors",
)
CSV_HEADER = (
    "system",
    "rate",
    "tokens",
    "n",
    "accuracy",
    "ci95_low",
    "ci95_high",
    "hard_n",
    "hard_accuracy",
    "evidence_recall",
    "unparsed",
    "errors",
)
LISTED = 10  # kinds of errors, and unusable lines, that are printed; the rest is counted
LONGEST = 300  # characters of one message


def title(system: str) -> str:
    """The name a reader expects, e.g. ``SpeechPrune`` for ``speechprune``; an unknown name as it is."""
    return TITLES.get(system, system)


def escape(text: str) -> str:
    """``text`` on one line, safe in a Markdown table: it stays text, whatever a corpus or a message holds."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|`*\[\]])", r"\\\1", line)


def percent(fraction: float | None) -> str:
    """0.8923 -> "89.23"; None -> "-"."""
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def _dash(value: object) -> str:
    return "-" if value is None else f"{value}"


def _system_row(system: dict) -> tuple[str, ...]:
    ci95 = system["ci95"]
    return (
        escape(title(system["system"])),
        "-" if system["rate"] is None else f"{system['rate']:g}",
        _dash(system["tokens"]),
        percent(system["accuracy"]),
        "-" if ci95 is None else f"{percent(ci95[0])} to {percent(ci95[1])}",
        percent(system["hard"]["accuracy"]),
        percent(system["evidence_recall"]),
        str(system["unparsed"]),
        str(system["errors"]),
    )


def _constant_row(constant: dict) -> tuple[str, ...]:
    name = f'Constant letter "{escape(constant["letter"])}"'
    return (name, "-", "-", percent(constant["accuracy"]), "-", "-", "-", "-", "-")


def _table(rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    ruler = line(["---"] + ["---:"] * (len(HEADER) - 1))
    return "\n".join([line(HEADER), ruler, *map(line, rows)])


def _code_block(text: str) -> str:
    """``text`` fenced by more backticks than it holds in a row."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"{fence}\n{text}\n{fence}"


def _warnings(missing: dict[str, int], questions: int) -> list[str]:
    return [
        f"**Warning:** {escape(label)} has no row for {absent} of the {questions} questions; run stage 3 again."
        for label, absent in missing.items()
    ]


def _notes(document: dict) -> list[str]:
    questions, constant, chance = document["questions"], document["constant_letter"], document["chance"]
    hard = max(system["hard"]["n"] for system in document["systems"])
    guess = "" if chance is None else f" A guess scores {percent(chance)} % on average."
    hard_note = (
        f"the {hard} questions that Original answered wrongly, so Original has 0 there by definition."
        if hard
        else 'the questions that Original answered wrongly; "-": there are none, or Original was not decoded.'
    )
    return [
        "PR: pruning rate, the share of the model's ordinary audio input that is removed. Tokens: audio tokens kept, "
        "mean per question.",
        f"Accuracy: share of n questions answered correctly, with its 95 % Wilson interval. n is {questions} (all "
        "questions) less the system's errors and missing rows; `score.json` has it for each system.",
        f"Hard: accuracy on {hard_note}",
        'Evidence recall: mean share of the key sentence\'s audio tokens that were kept; "-" where it is not known.',
        "Unparsed: replies from which no choice could be read; they count as wrong.",
        "Errors: questions that could not be decoded; they are left out of n, neither right nor wrong.",
        f'Constant letter: answering "{escape(constant["letter"])}" to every question scores '
        f"{percent(constant['accuracy'])} %, the best of all letters.{guess}",
    ]


def _shorten(message: str) -> str:
    return message if len(message) <= LONGEST else message[: LONGEST - 3] + "..."


def _error_lines(errors: Iterable[tuple[str, str]]) -> list[str]:
    """One line per kind of message, the most frequent first, with a question id to look at."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for message, question in errors:
        kinds[message].append(question)
    ordered = sorted(kinds.items(), key=lambda kind: (-len(kind[1]), kind[0]))
    lines = [
        f"- {len(ids)} x {escape(_shorten(message))} (e.g. {escape(min(ids))})" for message, ids in ordered[:LISTED]
    ]
    if len(ordered) > LISTED:
        lines.append(f"- and {len(ordered) - LISTED} more kinds")
    return lines


def _problem_lines(problems: Sequence[str]) -> list[str]:
    lines = [f"- {escape(_shorten(problem))}" for problem in problems[:LISTED]]
    if len(problems) > LISTED:
        lines.append(f"- and {len(problems) - LISTED} more")
    return lines


def results_markdown(document: dict, errors: Sequence[tuple[str, str]], problems: Sequence[str]) -> str:
    """The page RESULTS.md.

    Args:
        document: score.json's content (``speechprune.score.write_results``).
        errors: (message, question id) of every row with an error, in any order.
        problems: what was wrong with lines that could not be used, one text each.
    """
    model, name = escape(document["model"]), escape(document["set"])
    rows = [*map(_system_row, document["systems"]), _constant_row(document["constant_letter"])]
    blocks = [
        f"# Results: {name}, {model}",
        f"Model {model}, set {name}, {document['questions']} questions. Made by:",
        _code_block(document["command"]),
        _table(rows),
        *_warnings(document["missing"], document["questions"]),
        "\n".join(f"- {note}" for note in _notes(document)),
    ]
    if errors:
        blocks += [f"## Errors ({len(errors)} rows)", "\n".join(_error_lines(errors))]
    if problems:
        blocks += [f"## Problems in the hypothesis files ({len(problems)})", "\n".join(_problem_lines(problems))]
    return "\n\n".join(blocks) + "\n"


def scores_csv(document: dict) -> str:
    """The systems of score.json's content as CSV with a header line; fractions, empty cells for null."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for system in document["systems"]:
        low, high = system["ci95"] or (None, None)
        hard = system["hard"]
        row = [system[key] for key in ("system", "rate", "tokens", "n", "accuracy")]
        row += [low, high, hard["n"], hard["accuracy"]]
        row += [system[key] for key in ("evidence_recall", "unparsed", "errors")]
        writer.writerow(row)
    return buffer.getvalue()
