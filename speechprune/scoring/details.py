"""The sections below the main table: tests, rotations, costs, give-aways, and accuracy by position and duration."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from speechprune.decoding.modes import METRICS
from speechprune.decoding.rows import label
from speechprune.scoring.blocks import Block, Code, Notes, Paragraph, Section, Table, Text
from speechprune.scoring.cells import p_value, percent, percent_range, rate_text
from speechprune.scoring.cloze import ITSELF
from speechprune.scoring.tables import title_in
from speechprune.scoring.titles import has_letters, title


def details(document: dict) -> list[Section]:
    """Those sections that a score.json has something for, in the order of the page."""
    sections = (
        _cloze(document),
        _open(document),
        _comparisons(document),
        _rotations(document),
        _cascades(document),
        _costs(document),
        _benchmark(document),
        _breakdown(document, "by_position", "position of the evidence", "Position", _position),
        _breakdown(document, "by_duration", "duration", "Duration", _duration),
    )
    return [section for section in sections if section]


def _cloze(document: dict) -> Section | None:
    """Every metric of mode cloze, side by side."""
    if (by := document.get("cloze")) is None:
        return None
    rows = []
    for system in by["systems"]:
        cells = (_bin_text(system["metrics"][name]) for name in METRICS)
        rows.append((title(system["system"], document.get("titles")), rate_text(system["rate"]), *cells))
    table = Table(("System", "PR", *(f"{shown[0].upper()}{shown[1:]}" for shown in METRICS.values())), rows)
    compared = table.without_empty_columns(*table.header[-2:])
    notes: list[Text] = [
        f"All other tables are by {METRICS[by['metric']]}. Accuracy %, its 95 % Wilson interval, and n.",
        "Sum: log-probability of the choice, over its tokens; it prefers short choices. Mean: the same per token.",
    ]
    if by["baseline"] is None:
        system = Code("{name: no_audio, method: full, audio: none}")
        notes.append(("PMI needs a system that answers without audio: decode ", system, ", too."))
    else:
        notes.append(
            f"PMI: less the same of {by['baseline']}, the same prompt without audio (Holtzman et al. 2021). That "
            f"system itself, whose PMI is 0 for every choice, is by {METRICS[ITSELF]} in the other tables."
        )
    return Section("Ways to compare the choices", "Cloze", [compared, Notes(notes)])


def _open(document: dict) -> Section | None:
    """Exact match beside token F1."""
    rows = [
        (
            *(title_in(document, system), rate_text(system["rate"]), str(system["n"]), percent(system["exact"])),
            *(percent_range(system["ci95"]), percent(system["f1"])),
        )
        for system in document.get("open") or []
    ]
    if not rows:
        return None
    note = (
        "Both as SQuAD counts them (Rajpurkar et al. 2016), best of the references: exact match, by which all other "
        "tables are, and F1 over the tokens; lower case, without punctuation and articles."
    )
    header = ("System", "PR", "n", "Exact match %", "95 % CI", "F1 %")
    return Section("Open answers", "Open answers", [Table(header, rows), Notes([note])])


def _comparisons(document: dict) -> Section | None:
    """Balanced accuracy, and the paired tests."""
    systems = document["systems"]
    balanced = any(system.get("balanced_accuracy") is not None for system in systems)
    if not balanced and not any(system.get("against") for system in systems):
        return None
    other = _compared_with(document)
    rows = []
    for system in systems:
        test = system.get("against")
        cells = (title_in(document, system), rate_text(system["rate"]))
        accuracies = percent(system["accuracy"]), percent(system["balanced_accuracy"])
        tested = (
            (test["n"], test["better"], test["worse"], p_value(test["p"]), p_value(test["p_holm"]))
            if test
            else ("-",) * 5
        )
        rows.append((*cells, *accuracies, *map(str, tested)))
    header = ("System", "PR", "Accuracy %", "Balanced %", "Pairs", "Better", "Worse", "p", "p (Holm)")
    notes: list[Text] = (
        ["Balanced: mean over the right letters of their accuracies; a constant letter gets 1 / letters."]
        if balanced
        else []
    )
    if other is not None:
        notes.append(
            f"Better, worse: questions that the system scores higher on than {other}, and the reverse, "
            "of the pairs that both answered; p: McNemar's exact test, then corrected for all rows (Holm)."
        )
    parts = [*(["balanced accuracy"] if balanced else []), *([] if other is None else [f"against {other}"])]
    heading = ", and ".join(parts)
    table = Table(header, rows).without_empty_columns("Balanced %", "Pairs", "Better", "Worse", "p", "p (Holm)")
    short = "Balanced" if balanced else "Tests"
    return Section(f"{heading[0].upper()}{heading[1:]}", short, [table, Notes(notes)])


def _compared_with(document: dict) -> str | None:
    """Title and rate of the system that the others were tested against."""
    systems: Sequence[dict] = document["systems"]
    name = next((system["against"]["system"] for system in systems if system.get("against")), None)
    for system in systems:
        if name == label(system["system"], system["rate"]):
            shown, rate = title_in(document, system), system["rate"]
            return shown if rate is None else f"{shown} at {rate:g}"
    return name


def _rotations(document: dict) -> Section | None:
    turned = [system for system in document["systems"] if system.get("rotations")]
    if not turned:
        return None
    letters = sorted({letter for system in turned for letter in system["letters"]})
    rows = []
    for system in turned:
        found = system["rotations"]
        cells = (title_in(document, system), rate_text(system["rate"]), str(system["n"]), percent(system["accuracy"]))
        biases = percent(found["consistent"]), percent(found["letter_bias"])
        rows.append((*cells, *biases, *(percent(system["letters"].get(letter, 0.0)) for letter in letters)))
    header = ("System", "PR", "n", "Accuracy %", "Consistent %", "Letter bias %", *(f"{name} %" for name in letters))
    notes: list[Text] = [
        (
            "Every rotation of the choices was asked (",
            Code("permute: cyclic"),
            "); accuracy is the mean over rotations.",
        ),
        "Consistent: questions that got the same choice, right or wrong, in all rotations.",
        "Letter bias: share of the answers that would have to move for no letter to be preferred.",
    ]
    return Section("Rotated choices", "Rotated choices", [Table(header, rows), Notes(notes)])


def _cascades(document: dict) -> Section | None:
    """Of the systems that read transcripts."""
    rows = []
    for cascade in document.get("cascades") or []:
        times = ("-" if cascade[key] is None else f"{cascade[key]:.3g}" for key in ("seconds", "rtf"))
        by = ", ".join(cascade["models"]) or "-"
        rows.append((title_in(document, cascade), by, str(cascade["recordings"]), percent(cascade["wer"]), *times))
    if not rows:
        return None
    notes: list[Text] = [
        "The LLM reads a transcript in place of audio. Tokens, in the main table and the costs, are its text tokens.",
        "WER: word errors by the words of the reference. Seconds: of recognising a recording, mean, on any machine "
        "that did it; RTF: by the seconds of audio. They come before the prefill, in the encoder's place.",
    ]
    header = ("System", "Written down by", "Recordings", "WER %", "Seconds", "RTF")
    return Section("Transcripts", "Transcripts", [Table(header, rows), Notes(notes)])


def _costs(document: dict) -> Section | None:
    costs = document.get("costs") or []
    whole = next((cost["prefill_flop"] for cost in costs if cost["system"] == "original"), None)
    systems: dict[tuple[str, ...], list[str]] = {}  # by what they cost
    for cost in costs:
        counts = (cost["tf"], cost["tm"], cost["sa"], cost["prefill_flop"] / 1e12)
        cells = (str(cost["audio_tokens"]), rate_text(cost["rate"]), *(f"{count:#.4g}" for count in counts))
        share = percent(None if whole is None else cost["prefill_flop"] / whole)
        systems.setdefault((*cells, share), []).append(title_in(document, cost))
    if not systems:
        return None
    header = ("Tokens", "PR", "TF (TFLOP)", "TM (GB)", "SA (GB)", "Prefill (TFLOP)", "of Original %", "Systems")
    rows = [(*cells, ", ".join(names)) for cells, names in systems.items()]
    notes: list[Text] = [
        f"With {costs[0]['text_tokens']} text tokens. TF, TM, SA: as the paper's Table I counts: FLOP without "
        "attention, memory of weights and KV cache, activations of one layer without flash attention.",
        (
            "Prefill: the LLM's true FLOP, attention included, lm_head on the last position. Encoder and pruner: see ",
            Code("speechprune profile"),
            ", which can also time a prefill.",
        ),
    ]
    table = Table(header, rows).without_empty_columns("of Original %")
    return Section("Costs of the prefill", "Costs", [table, Notes(notes)])


def _benchmark(document: dict) -> Section | None:
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
            prompt = "question and choices" if has_letters(document) else "the question"
            kind = "silence as audio" if audio == "silence" else f"no audio: {prompt} alone"
            cells = (str(system["n"]), percent(system["accuracy"]), percent_range(system["ci95"]))
            rows.append((f"{title_in(document, system)} ({kind})", *cells))
    if not rows:
        return None
    blocks: list[Block] = [Table(("Answered by", "n", "Accuracy %", "95 % CI"), rows)]
    letters = sorted({letter for prior in priors for letter in (*prior["predicted"], *prior["probability"])})
    if letters:
        lines = [
            (f"{title_in(document, prior)}, {name}", *(percent(prior[key].get(letter)) for letter in letters))
            for prior in priors
            for key, name in (("predicted", "share of predictions"), ("probability", "mean probability"))
        ]
        about = "The model's preference for letters when it hears nothing of the recording, in percent:"
        blocks += [Paragraph(about), Table(("System", *letters), lines)]
    return Section("What the benchmark alone gives away", "Give-aways", blocks)


def _breakdown(document: dict, key: str, words: str, short: str, name_of: Callable[..., str]) -> Section | None:
    parts = document.get(key) or []
    bins = sorted({(b["low"], b["high"]) for part in parts for b in part["bins"]}, key=lambda edges: edges[0])
    if not bins:
        return None
    rows = []
    for part in parts:
        found = {(b["low"], b["high"]): b for b in part["bins"]}
        cells = (_bin_text(found.get(edges)) for edges in bins)
        rows.append((title_in(document, part), rate_text(part["rate"]), *cells))
    table = Table(("System", "PR", *(name_of(*edges) for edges in bins)), rows)
    note = Paragraph("Accuracy %, its 95 % Wilson interval, and n.")
    return Section(f"Accuracy by {words}", short, [table, note])


def _bin_text(found: dict | None) -> str:
    if found is None:
        return "-"
    return f"{percent(found['accuracy'])} ({percent_range(found['ci95'])}; {found['n']})"


def _position(low: float, high: float) -> str:
    return f"{100 * low:g} to {100 * high:g} % of the recording"


def _duration(low: float, high: float | None) -> str:
    return f"{low:g} s and more" if high is None else f"{low:g} to {high:g} s"
