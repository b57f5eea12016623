"""The pages RESULTS.md, of one experiment and of several. Text only: nothing is read or written here."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from speechprune.decoding.hypotheses import label
from speechprune.scoring import paper
from speechprune.scoring.doubts import undecoded_text
from speechprune.scoring.tables import (
    Table,
    escape,
    percent,
    percent_range,
    rate_text,
    results_table,
    table_one,
    table_two,
    title,
)

LISTED = 10  # kinds of errors, and unusable lines, that are printed; the rest is counted
LONGEST = 300  # characters of one message
PAPER_NOTE = (
    f"The paper's: printed in {paper.SOURCE}, on its own recordings, for the model in brackets; not measured here."
)


def results_markdown(document: dict, errors: Sequence[tuple[str, str]], problems: Sequence[str]) -> str:
    """The page of one experiment.

    Args:
        document: score.json's content (``speechprune.scoring.stage.write_results``).
        errors: (message, question id) of every row with an error, in any order.
        problems: what was wrong with lines that could not be used, one text each.
    """
    model, name = escape(document["model"]), escape(document["set"])
    table = results_table(document)
    blocks = [
        f"# Results: {name}, {model}",
        f"Model {model}, set {name}, {document['questions']} questions. Made by:",
        _code_block(document["command"]),
        table.markdown(),
        *_warnings(document),
        _bullets([*_notes(document), *([PAPER_NOTE] if _has_paper(table) else [])]),
        *_comparisons(document),
        *_rotations(document),
        *_costs(document),
        *_benchmark(document),
        *_breakdown(document, "by_position", "position of the evidence", _position),
        *_breakdown(document, "by_duration", "duration", _duration),
    ]
    if errors:
        blocks += [f"## Errors ({len(errors)} rows)", _bullets(_error_lines(errors))]
    if problems:
        blocks += [f"## Problems in the hypothesis files ({len(problems)})", _bullets(_problem_lines(problems))]
    return "\n\n".join(blocks) + "\n"


def comparison_markdown(documents: Sequence[dict], command: str) -> str:
    """The page of several experiments: Table I's and Table II's layouts."""
    names = [f"{escape(document['model'])} on {escape(document['set'])}" for document in documents]
    first, second = table_one(*documents), table_two(documents)
    notes = [
        "n: questions without error. 95 % CI: Wilson. PR: share of the model's ordinary audio input removed.",
        "Hard: the questions that Original, of the same model, answered wrongly.",
        *([PAPER_NOTE] if _has_paper(first) or _has_paper(second) else []),
    ]
    blocks = [f"# Results: {'; '.join(names)}", "Made by:", _code_block(command)]
    blocks += ["## Methods and rates (the paper's Table I)", first.markdown()]
    blocks += ["## Models and corpora (the paper's Table II)", second.markdown(), _bullets(notes)]
    for document, name in zip(documents, names, strict=True):
        blocks += [f"{name}: {text}" for text in _warnings(document)]
    return "\n\n".join(blocks) + "\n"


def _has_paper(table: Table) -> bool:
    return any("the paper's" in name for name in table.header)


def _code_block(text: str) -> str:
    """``text`` fenced by more backticks than it holds in a row."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"{fence}\n{text}\n{fence}"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _warnings(document: dict) -> list[str]:
    lines = []
    expected = document.get("expected") or {}
    if expected.get("undecoded"):
        lines.append(f"{escape(undecoded_text(**expected))}.")
    lines += [
        f"{escape(name)} has no row for {absent} of the {document['questions']} questions; run stage 3 again."
        for name, absent in document["missing"].items()
    ]
    return [f"**Warning:** {line}" for line in lines]


def _which_questions(expected: dict | None) -> str:
    """Which questions the rows are about; without cuts nobody knows whether there are more."""
    if expected is None:
        return "all questions that have rows"
    return f"of {expected['questions']} in the cuts" if expected["undecoded"] else "all questions"


def _notes(document: dict) -> list[str]:
    questions, constant, chance = document["questions"], document["constant_letter"], document["chance"]
    hard = max(system["hard"]["n"] for system in document["systems"])
    guess = "" if chance is None else f" A guess scores {percent(chance)} % on average."
    hard_note = (
        f"the {hard} questions that Original answered wrongly, so Original has 0 there by definition."
        if hard
        else 'the questions that Original answered wrongly; "-": there are none, or Original was not decoded.'
    )
    spoken = ", ".join(map(escape, document.get("resynthesised", [])))
    notes = [
        *([f"**Resynthesised** by {spoken} from the transcripts: not the corpus' own recordings."] if spoken else []),
        "PR: pruning rate, the share of the model's ordinary audio input that is removed. Tokens: audio tokens kept, "
        "mean per question.",
        f"Accuracy: share of n questions answered correctly, with its 95 % Wilson interval. n is {questions} "
        f"({_which_questions(document.get('expected'))}) less the system's errors and missing rows.",
        f"Hard: accuracy on {hard_note}",
        "Evidence recall: mean share of the key sentence's audio tokens that were kept; precision: mean share of the "
        'kept tokens that are the key sentence\'s; "-" where it is not known.',
        "Unparsed: replies from which no choice could be read; they count as wrong.",
        "Errors: questions that could not be decoded; they are left out of n, neither right nor wrong.",
        f'Constant letter: answering "{escape(constant["letter"])}" to every question scores '
        f"{percent(constant['accuracy'])} %, the best of all letters.{guess}",
    ]
    if any(system.get("ci95_recording") for system in document["systems"]):
        notes.insert(
            2,
            f"Questions share {document['recordings']} recordings and are not independent: "
            "the interval by recording (bootstrap) allows for that, Wilson's does not.",
        )
    return notes


def _comparisons(document: dict) -> list[str]:
    """Balanced accuracy, and the paired tests."""
    systems = document["systems"]
    if all(system.get("balanced_accuracy") is None for system in systems):
        return []
    other = _compared_with(systems)
    rows = []
    for system in systems:
        test = system.get("against")
        cells = (title(system["system"]), rate_text(system["rate"]), percent(system["accuracy"]))
        cells += (percent(system["balanced_accuracy"]),)
        tested = (test["n"], test["better"], test["worse"], _p(test["p"]), _p(test["p_holm"])) if test else ("-",) * 5
        rows.append((*cells, *map(str, tested)))
    header = ("System", "PR", "Accuracy %", "Balanced %", "Pairs", "Better", "Worse", "p", "p (Holm)")
    notes = ["Balanced: mean over the right letters of their accuracies; a constant letter gets 1 / letters."]
    if other is not None:
        notes.append(
            f"Better, worse: questions that the system scores higher on than {escape(other)}, and the reverse, "
            "of the pairs that both answered; p: McNemar's exact test, then corrected for all rows (Holm)."
        )
    against = "" if other is None else f", and against {escape(other)}"
    table = Table(header, rows).without_empty_columns("Pairs", "Better", "Worse", "p", "p (Holm)")
    return [f"## Balanced accuracy{against}", table.markdown(), _bullets(notes)]


def _compared_with(systems: Sequence[dict]) -> str | None:
    """Title and rate of the system that the others were tested against."""
    name = next((system["against"]["system"] for system in systems if system.get("against")), None)
    for system in systems:
        if name == label(system["system"], system["rate"]):
            rate = system["rate"]
            return title(system["system"]) if rate is None else f"{title(system['system'])} at {rate:g}"
    return name


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _rotations(document: dict) -> list[str]:
    turned = [system for system in document["systems"] if system.get("rotations")]
    if not turned:
        return []
    letters = sorted({letter for system in turned for letter in system["letters"]})
    rows = []
    for system in turned:
        found = system["rotations"]
        cells = (title(system["system"]), rate_text(system["rate"]), str(system["n"]), percent(system["accuracy"]))
        cells += (percent(found["consistent"]), percent(found["letter_bias"]))
        rows.append((*cells, *(percent(system["letters"].get(letter, 0.0)) for letter in letters)))
    header = ("System", "PR", "n", "Accuracy %", "Consistent %", "Letter bias %", *(f"{name} %" for name in letters))
    notes = [
        "Every rotation of the choices was asked (`permute: cyclic`); accuracy is the mean over rotations.",
        "Consistent: questions that got the same choice, right or wrong, in all rotations.",
        "Letter bias: share of the answers that would have to move for no letter to be preferred.",
    ]
    return ["## Rotated choices", Table(header, rows).markdown(), _bullets(notes)]


def _costs(document: dict) -> list[str]:
    costs = document.get("costs") or []
    whole = next((cost["prefill_flop"] for cost in costs if cost["system"] == "original"), None)
    systems: dict[tuple[str, ...], list[str]] = {}  # by what they cost
    for cost in costs:
        counts = (cost["tf"], cost["tm"], cost["sa"], cost["prefill_flop"] / 1e12)
        cells = (str(cost["audio_tokens"]), rate_text(cost["rate"]), *(f"{count:#.4g}" for count in counts))
        share = percent(None if whole is None else cost["prefill_flop"] / whole)
        systems.setdefault((*cells, share), []).append(title(cost["system"]))
    if not systems:
        return []
    header = ("Tokens", "PR", "TF (TFLOP)", "TM (GB)", "SA (GB)", "Prefill (TFLOP)", "of Original %", "Systems")
    rows = [(*cells, ", ".join(names)) for cells, names in systems.items()]
    notes = [
        f"With {costs[0]['text_tokens']} text tokens. TF, TM, SA: as the paper's Table I counts: FLOP without "
        "attention, memory of weights and KV cache, activations of one layer without flash attention.",
        "Prefill: the LLM's true FLOP, attention included, lm_head on the last position. Encoder and pruner: see "
        "`speechprune profile`, which can also time a prefill.",
    ]
    table = Table(header, rows).without_empty_columns("of Original %")
    return ["## Costs of the prefill", table.markdown(), _bullets(notes)]


def _benchmark(document: dict) -> list[str]:
    """What the benchmark alone gives away."""
    rows = [
        (guess["name"], str(guess["n"]), percent(guess["accuracy"]), percent_range(guess["ci95"]))
        for guess in document.get("benchmark", [])
    ]
    priors = document.get("letter_prior", [])
    heard = {(prior["system"], prior["rate"]): prior["audio"] for prior in priors}
    for system in document["systems"]:
        audio = heard.get((system["system"], system["rate"]))
        if audio is not None:
            kind = "silence as audio" if audio == "silence" else "no audio: question and choices alone"
            cells = (str(system["n"]), percent(system["accuracy"]), percent_range(system["ci95"]))
            rows.append((f"{title(system['system'])} ({kind})", *cells))
    if not rows:
        return []
    blocks = ["## What the benchmark alone gives away"]
    blocks.append(Table(("Answered by", "n", "Accuracy %", "95 % CI"), rows).markdown())
    if priors:
        letters = sorted({letter for prior in priors for letter in (*prior["predicted"], *prior["probability"])})
        lines = [
            (f"{title(prior['system'])}, {name}", *(percent(prior[key].get(letter)) for letter in letters))
            for prior in priors
            for key, name in (("predicted", "share of predictions"), ("probability", "mean probability"))
        ]
        blocks += ["The model's preference for letters when it hears nothing of the recording, in percent:"]
        blocks.append(Table(("System", *letters), lines).markdown())
    return blocks


def _breakdown(document: dict, key: str, words: str, name_of: Callable[..., str]) -> list[str]:
    parts = document.get(key) or []
    bins = sorted({(b["low"], b["high"]) for part in parts for b in part["bins"]}, key=lambda edges: edges[0])
    if not bins:
        return []
    rows = []
    for part in parts:
        found = {(b["low"], b["high"]): b for b in part["bins"]}
        cells = (_bin_text(found.get(edges)) for edges in bins)
        rows.append((title(part["system"]), rate_text(part["rate"]), *cells))
    table = Table(("System", "PR", *(name_of(*edges) for edges in bins)), rows)
    note = "Accuracy %, its 95 % Wilson interval, and n."
    return [f"## Accuracy by {words}", table.markdown(), note]


def _bin_text(found: dict | None) -> str:
    if found is None:
        return "-"
    return f"{percent(found['accuracy'])} ({percent_range(found['ci95'])}; {found['n']})"


def _position(low: float, high: float) -> str:
    return f"{100 * low:g} to {100 * high:g} % of the recording"


def _duration(low: float, high: float | None) -> str:
    return f"{low:g} s and more" if high is None else f"{low:g} to {high:g} s"


def _shorten(message: str) -> str:
    return message if len(message) <= LONGEST else message[: LONGEST - 3] + "..."


def _error_lines(errors: Iterable[tuple[str, str]]) -> list[str]:
    """One line per kind of message, the most frequent first, with a question id to look at."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for message, question in errors:
        kinds[message].append(question)
    ordered = sorted(kinds.items(), key=lambda kind: (-len(kind[1]), kind[0]))
    lines = [f"{len(ids)} x {escape(_shorten(message))} (e.g. {escape(min(ids))})" for message, ids in ordered[:LISTED]]
    if len(ordered) > LISTED:
        lines.append(f"and {len(ordered) - LISTED} more kinds")
    return lines


def _problem_lines(problems: Sequence[str]) -> list[str]:
    lines = [escape(_shorten(problem)) for problem in problems[:LISTED]]
    if len(problems) > LISTED:
        lines.append(f"and {len(problems) - LISTED} more")
    return lines
