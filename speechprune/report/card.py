"""A dataset card, README.md in the form of the Hugging Face hub, for the folder of one model and one set."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import yaml

from speechprune import __version__
from speechprune.common.files import Problem, atomic_write
from speechprune.common.names import OURS, without_paths
from speechprune.common.registry import lookup
from speechprune.data.corpora import corpora
from speechprune.report.scores import read_scores

# What the folder holds for others; logs name machines and stay.
_PARTS = {
    "*/hyp.*.jsonl": "hypotheses, a row a question: the answer, its probabilities, which audio tokens were kept",
    "*/config.json": "what the rows of a system depend on: model, method, options",
    "score.json": "the scores, with intervals and tests",
    "RESULTS.md": "the same as tables",
    "*.csv": "the same for programs",
    "*.tex": "the main table for a paper",
    "figures/*": "figures",
    "report.html": "a page with tables, figures and single questions; it holds some of the corpus' recordings",
}
_LEFT_OUT = ("log/*", "*.lock")


def write_card(exp: str | Path, corpus: str) -> list[Problem]:
    """Write ``exp``/README.md.

    Args:
        exp: the folder of one model and one set that was scored, such as exp/mini/test.
        corpus: the recipe's name: its page says where the corpus comes from and under which licence.
    Returns:
        places in the folder's files, outside the card, that name paths of this machine or a secret.
    Raises:
        FileNotFoundError: the folder was not scored. ValueError: an unknown corpus, or a damaged score.json.
    """
    exp = Path(exp)
    page = inspect.getdoc(lookup("corpus", corpus, corpora())) or ""
    score = read_scores(exp / "score.json")
    systems = sorted({path.parent.name for path in exp.glob("*/hyp.*.jsonl")})
    if not systems:
        raise FileNotFoundError(f"{exp}: no hypotheses, */hyp.*.jsonl; give the folder of one model and one set")
    title = f"SIR hypotheses: {corpus} {score['set']}, {Path(score['model']).name}"
    head = {
        "pretty_name": title,
        "license": "other",
        "license_name": "that-of-the-corpus",
        "tags": ["speech-information-retrieval", "audio-token-pruning", "speechprune"],
        "configs": [{"config_name": name, "data_files": f"{name}/hyp.*.jsonl"} for name in systems],
    }
    parts = {pattern: text for pattern, text in _PARTS.items() if any(exp.glob(pattern))}
    blocks = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {title}",
        f"What {len(systems)} ways of choosing audio tokens made of {score['questions']} questions about "
        f"{score['recordings']} recordings; written by speechprune {__version__} (Speech Information Retrieval).",
        "## Parts",
        "\n".join(f"- `{pattern}`: {text}" for pattern, text in parts.items()),
        "## Corpus and licence",
        page,
        "Questions, transcripts and recordings are its owners', and their terms hold for what is quoted of them here.",
        *_results(exp),
        "## Commands",
        "The tables were made, and are made again from the rows in this folder, by",
        f"```\n{without_paths(score['command'])}\n```",
    ]
    with atomic_write(exp / "README.md") as file:
        file.write("\n\n".join(blocks) + "\n")
    return list(_of_this_machine(exp, [*parts, "README.md"]))


def upload_line(exp: str | Path) -> str:
    """The hub client's own command for the folder."""
    options = " ".join(f'--exclude "{pattern}"' for pattern in _LEFT_OUT)
    return f"hf upload --repo-type dataset USER/NAME {exp} . {options}"


def _results(exp: Path) -> Iterator[str]:
    """The main table, and the figures."""
    results = exp / "RESULTS.md"
    if results.is_file():
        table = [
            line for line in results.read_text(encoding="utf-8").partition("\n## ")[0].splitlines() if line[:1] == "|"
        ]
        yield from ("## Results", "\n".join(table), "RESULTS.md explains the columns, and has more tables.")
    for figure in sorted(exp.glob("figures/*.png")):
        yield f"![{figure.stem.replace('_', ' ')}](figures/{figure.name})"


def _of_this_machine(exp: Path, patterns: list[str]) -> Iterator[Problem]:
    files = sorted({path for pattern in patterns for path in exp.glob(pattern)})
    for path in files:
        if path.suffix not in {".json", ".jsonl", ".md", ".csv", ".tex"}:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if found := OURS.search(line):
                where = f"{path.relative_to(exp)}:{number}"
                yield Problem(where, "text", found[0], "nothing of this machine")
                break  # one a file says enough
