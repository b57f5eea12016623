"""The stages of a recipe, one command each."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from speechprune.cli.base import (
    PATH,
    command,
    with_corpus_options,
    with_job,
    with_metric,
    with_model,
    with_nj,
    with_progress,
    with_sets,
    with_urls,
)
from speechprune.decoding.modes import MODES
from speechprune.report.page import RECORDINGS

if TYPE_CHECKING:
    from speechprune.common.files import Shard
    from speechprune.models import SpeechLLM
    from speechprune.scoring.comparison import SystemScore


@command
@click.argument("corpus")
@click.argument("folder", type=PATH)
@with_sets
@with_nj
@with_corpus_options
def download(corpus: str, folder: Path, sets: list[str], nj: int, **options) -> None:
    """Stage 0: fetch or synthesise CORPUS into FOLDER, or check what the user has there."""
    from speechprune.data.corpora import corpus_function, corpus_options

    _require_folders(folder)
    chosen = corpus_options("download", corpus, options)
    corpus_function("download", corpus)(folder, sets=sets, nj=nj, **chosen)


@command
@click.argument("corpus")
@click.argument("folder", type=PATH)
@click.argument("out", type=PATH)
@with_sets
@with_nj
@with_corpus_options
def prepare(corpus: str, folder: Path, out: Path, sets: list[str], nj: int, **options) -> None:
    """Stage 1: turn CORPUS in FOLDER into validated cuts, OUT/<set>/cuts.jsonl.gz."""
    from speechprune.data.corpora import corpus_function, corpus_options

    _require_folders(folder, out)
    chosen = corpus_options("prepare", corpus, options, {"nj": nj})
    for name, cuts in corpus_function("prepare", corpus)(folder, out, sets=sets, **chosen).items():
        sizes = [(cut.duration, len(cut.custom["questions"])) for cut in cuts]
        hours, questions = sum(seconds for seconds, _ in sizes) / 3600, sum(asked for _, asked in sizes)
        logging.info("%s: %d recordings, %.2f h, %d questions", name, len(sizes), hours, questions)


def _require_folders(*paths: Path) -> None:
    for path in paths:
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file, expected a folder; name another")


@command
@click.argument("cuts", type=PATH)
@click.argument("dump", type=PATH)
@with_model
@with_urls
@with_job
@with_progress
def features(
    cuts: Path, dump: Path, load: Callable[[], SpeechLLM], urls: bool, shard: Shard, progress: bool | None
) -> None:
    """Stage 2: encode the audio of CUTS once; audio tokens into Kaldi archives in DUMP. Resumes where it stopped.

    On SIGTERM or SIGUSR1 the recording at hand is finished; exit status 75 says that there are more.
    """
    from speechprune.common.stopping import leave, stop_on_signals

    with stop_on_signals() as stop:  # imports take seconds, too
        from speechprune.features.dump import is_fruitless
        from speechprune.features.extract import extract_features

        sources = ("file", "url") if urls else ("file",)
        summary = extract_features(cuts, dump, load(), shard, progress, stop, sources)
    logging.info("%s", summary)
    if summary.unwritten:
        raise OSError(f"{dump} is incomplete: {summary.unwritten} recordings could not be written; mend that and rerun")
    leave(stop, summary.left)
    # A single recording of one of many jobs says nothing about the others, before these have ended.
    if summary.failed and not summary.good and (summary.failed > 1 or is_fruitless(dump)):
        first = next(problem for problem in summary.problems if problem.field == "audio_tokens")
        raise ValueError(f"{dump}: all {summary.failed} recordings failed, the first: {first}")


@command
@click.argument("dump", type=PATH)
@click.argument("exp", type=PATH)
@click.option("--config", required=True, type=PATH, help="The systems to compare, such as conf/decode.yaml.")
@click.option(
    "--permute",
    type=click.Choice(["none", "cyclic"]),
    help="Ask once, or every rotation of the choices; for all systems, whatever the configuration says.",
)
@click.option(
    "--mode",
    type=click.Choice(MODES),
    help="The likeliest letter, a generated reply, the likeliest choice, which the prompt does not show, or a reply "
    "to the question alone.",
)
@with_model
@with_job
@with_progress
def decode(
    dump: Path,
    exp: Path,
    config: Path,
    permute: str | None,
    mode: str | None,
    load: Callable[[], SpeechLLM],
    shard: Shard,
    progress: bool | None,
) -> None:
    """Stage 3: prune and answer; hypotheses into EXP/<system>/hyp.<job>.jsonl. Resumes where it stopped.

    On SIGTERM or SIGUSR1 the recording at hand is finished; exit status 75 says that there are more.
    """
    from speechprune.common.stopping import leave, stop_on_signals

    with stop_on_signals() as stop:  # imports take seconds, too
        from speechprune.decoding.stage import decode as run
        from speechprune.decoding.systems import load_config

        given = {"permute": permute, "mode": mode}
        systems = load_config(config).changed(**{key: value for key, value in given.items() if value is not None})
        summary = run(dump, exp, systems, load(), shard, progress, stop)
    logging.info("%s", summary)
    leave(stop, summary.left)
    if summary.lost > (shard.jobs > 1) and not summary.done and not summary.skipped:
        raise ValueError(f"{exp}: all {summary.failed} rows are errors, the first: {summary.first_error}")


@command
@click.argument("exps", metavar="EXP...", nargs=-1, required=True, type=PATH)
@click.option(
    "--cuts",
    type=PATH,
    help="The cuts that were decoded: adds accuracy by position and duration, and what the text alone gives away.",
)
@click.option("--against", metavar="SYSTEM", show_default="original", help="Test others against it, such as rap_0.4.")
@click.option("--model", help="The model that was decoded with, its config.json is enough: adds what a prefill costs.")
@with_metric
@click.option("--out", type=PATH, help="Where to write; the folder itself for one EXP, needed for several.")
def score(
    exps: tuple[Path, ...],
    cuts: Path | None,
    against: str | None,
    model: str | None,
    metric: str | None,
    out: Path | None,
) -> None:
    """Stage 4: hypotheses -> score.json, tables and RESULTS.md in EXP; several EXP are compared in --out.

    An EXP is the folder of one model and one set, such as exp/mini/test.
    """
    from speechprune.scoring.stage import write_comparison, write_results
    from speechprune.scoring.titles import read_titles

    options = {"--cuts": cuts, "--against": against, "--model": model, "--metric": metric, "--out": out}
    given = [part for name, value in options.items() if value is not None for part in (name, str(value))]
    line = shlex.join(["speechprune", "score", *map(str, exps), *given])
    if len(exps) == 1:
        scores = write_results(exps[0], line, against, cuts, out, model, metric)
        count = f"{len(scores)} system{'' if len(scores) == 1 else 's'}"
        logging.info("%s scored: %s", count, (out or exps[0]) / "RESULTS.md")
        if verdict := _verdict(scores, read_titles(exps[0])):
            logging.info("%s", verdict)
        return
    if out is None:
        raise ValueError(f"{len(exps)} folders, but no --out; say where their comparison goes")
    for option in ("--cuts", "--model"):
        if options[option] is not None:
            raise ValueError(
                f"{option} {options[option]} with {len(exps)} folders; it belongs to one: score that alone"
            )
    write_comparison(exps, out, line, against, metric)
    logging.info("%d experiments compared: %s", len(exps), out / "RESULTS.md")


def _verdict(scores: list[SystemScore], titles: dict[str, str]) -> str:
    """SpeechPrune at the middle one of its rates beside what it is to beat: those of the three that have a score."""
    from speechprune.scoring.titles import title

    scored = [(score, score.accuracy) for score in scores if score.accuracy is not None]
    pruned = [pair for pair in scored if pair[0].system == "speechprune"]  # rates ascend
    shown = pruned[(len(pruned) - 1) // 2 :][:1]
    shown += [pair for name in ("original", "full") for pair in scored if pair[0].system == name]
    parts: list[str] = []
    for score, accuracy in shown:
        at = "" if score.rate is None else f" at {score.rate:g}"
        tokens = "" if score.tokens is None else f" with {score.tokens:g}" + ("" if parts else " tokens")
        parts.append(f"{title(score.system, titles)}{at}: {100 * accuracy:.2f} %{tokens}")
    return "; ".join(parts)


@command
@click.argument("exp", type=PATH)
@click.option(
    "--cuts",
    type=PATH,
    help="The cuts that were decoded: adds single questions, to look at and to listen to, to the page.",
)
@click.option(
    "--recordings",
    default=RECORDINGS,
    show_default=True,
    type=click.IntRange(0),
    help="How many recordings' questions the page holds, with their sound: about 0.5 MB each.",
)
@click.option("--dump", type=PATH, help="The audio tokens that were decoded: adds a figure of them; --model embeds it.")
@with_model
def report(exp: Path, cuts: Path | None, recordings: int, dump: Path | None, load: Callable[[], SpeechLLM]) -> None:
    """Stage 5: EXP/score.json -> figures in EXP/figures, and EXP/report.html, a page that needs no other file."""
    from speechprune.report.curves import draw_curves
    from speechprune.report.figures import draw_accuracy
    from speechprune.report.page.write import write_page

    drawn = [path for draw in (draw_accuracy, draw_curves) for path in draw(exp / "score.json", exp / "figures")]
    if dump is not None:
        drawn += _draw_embeddings(exp, dump, load)
    for path in drawn:
        logging.info("drew %s", path)
    logging.info("wrote %s", write_page(exp, cuts, recordings))


def _draw_embeddings(exp: Path, dump: Path, load: Callable[[], SpeechLLM]) -> list[Path]:
    """The figure that needs the model; where it cannot be drawn the page does without."""
    from speechprune.report.embedding import draw_embeddings

    try:
        return draw_embeddings(exp, dump, load(), exp / "figures")
    except (ValueError, OSError) as error:
        logging.warning("audio and text tokens are not drawn: %s", error)
        return []
