"""Prepared corpora as tasks of lmms-eval: a YAML file with its questions, and the functions that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from speechprune.audio import load_audio
from speechprune.common.files import Problem, atomic_write, json_line
from speechprune.data.cuts import read_cuts, validate_cut
from speechprune.decoding.answering import REPLY_TOKENS
from speechprune.decoding.replies import parse_choice
from speechprune.prompts import format_question

_RATE = 16000  # Hz, of the samples that a model of lmms-eval is given
_YAML = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {questions}}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function {here}.doc_to_audio
doc_to_text: !function {here}.doc_to_text
doc_to_target: !function {here}.doc_to_target
process_results: !function {here}.process_results
generation_kwargs: {{max_new_tokens: {tokens}, do_sample: false}}
metric_list:
  - {{metric: accuracy, aggregation: mean, higher_is_better: true}}
  - {{metric: named_a_choice, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""


def write_tasks(cuts: str | Path, out: str | Path, problems: list[Problem]) -> list[str]:
    """Make a task of each corpus in ``cuts``: OUT/<corpus>_<set>.yaml and OUT/<corpus>_<set>.jsonl, its questions.

    The set is called as the folder of the cuts. Recordings stay where they are: the questions hold their paths.

    Args:
        cuts: a prepared set: a file of cuts, or its folder.
        out: for ``lmms-eval --include_path``; made.
        problems: gets one entry for each cut, question or line that was left out, and says why.
    Returns:
        the names of the tasks.
    Raises:
        FileNotFoundError: no cuts there. ValueError: no question with choices in them.
    """
    cuts, out = Path(cuts), Path(out).resolve()
    folder = cuts if cuts.is_dir() else cuts.parent
    rows: dict[str, list[dict]] = {}
    for cut in read_cuts(cuts, problems):
        if broken := validate_cut(cut):
            problems += broken
            continue
        source = cut.recording.sources[0]
        if len(cut.recording.sources) != 1 or source.type != "file":
            problems.append(Problem(cut.id, "recording.sources", f"{len(cut.recording.sources)} of them", "one file"))
            continue
        name = f"{(cut.custom or {}).get('corpus') or 'speechprune'}_{folder.resolve().name}"
        for question in cut.custom["questions"]:
            if not question.get("choices"):
                limit = "choices, among which a reply is looked for; decode --mode open asks it"
                problems.append(Problem(question["id"], "choices", "none", limit))
                continue
            row = {key: question[key] for key in ("question", "choices", "answer")}
            path = str(Path(source.source).resolve())
            rows.setdefault(name, []).append({"id": question["id"], "recording": path, **row})
    if not rows:
        raise ValueError(f"{cuts}: no question with choices in any cut; lmms-eval would have nothing to ask")
    for name, found in rows.items():
        questions = out / f"{name}.jsonl"
        with atomic_write(questions, "wb") as file:
            file.writelines(json_line(row) for row in found)
        with atomic_write(out / f"{name}.yaml") as file:
            file.write(
                _YAML.format(name=name, questions=json.dumps(str(questions)), here=__name__, tokens=REPLY_TOKENS)
            )
    return list(rows)


def doc_to_audio(doc: dict) -> list[dict[str, Any]]:
    """The recording as lmms-eval hands recordings on: samples (T,) float32 at 16 kHz. AudioError as ``load_audio``."""
    return [{"array": load_audio(doc["recording"], _RATE), "sampling_rate": _RATE, "path": doc["recording"]}]


def doc_to_text(doc: dict) -> str:
    """The question as this package asks it."""
    return format_question(doc["question"], doc["choices"])


def doc_to_target(doc: dict) -> str:
    """The choice that is right."""
    return doc["choices"][doc["answer"]]


def process_results(doc: dict, results: list[str]) -> dict[str, float]:
    """Of one reply: whether it names the right choice, and whether it names one. Nothing is guessed."""
    named = parse_choice(results[0], doc["choices"])
    return {"accuracy": float(named == doc["answer"]), "named_a_choice": float(named is not None)}
