"""The ``speechprune`` command. Bodies delegate; heavy imports happen inside them, so that --help is quick."""

from __future__ import annotations

import functools
import logging
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from speechprune import __version__

if TYPE_CHECKING:
    from speechprune.files import Shard
    from speechprune.models import SpeechLLM

PATH = click.Path(path_type=Path)


class _Commands(click.Group):
    """Lists commands in the order of the stages, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="speechprune")
@click.option("--traceback", is_flag=True, help="Show the Python traceback of an error.")
@click.pass_context
def main(ctx: click.Context, traceback: bool) -> None:
    """Speech Information Retrieval with pruned audio tokens.

    \b
    raw corpus --prepare--> cuts --features--> audio tokens --decode--> hypotheses --score--> tables --report--> figures
    """
    ctx.obj = traceback
    form = "%(asctime)s (%(filename)s:%(lineno)d) %(levelname)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, datefmt="%Y-%m-%dT%H:%M:%S")
    for chatty in ("httpx", "matplotlib", "fontTools"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def command(function: Callable[..., None]) -> click.Command:
    """A subcommand whose expected errors are one clear line and exit status 1."""

    @main.command(name=function.__name__.replace("_", "-"), short_help=function.__doc__.splitlines()[0])
    @click.pass_context
    @functools.wraps(function)
    def run(ctx: click.Context, *args, **kwargs) -> None:
        try:
            function(*args, **kwargs)
        except (ValueError, OSError) as error:
            if ctx.obj:
                raise
            raise click.ClickException(str(error)) from error

    return run


def with_model(function: Callable[..., None]) -> Callable[..., None]:
    """Options that say which model; the body gets ``load``, which loads it when everything else has been checked."""

    @click.option("--model", default="mini", show_default=True, help="'mini' (ships), a Hugging Face folder or name.")
    @click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
    @click.option("--dtype", default="auto", show_default=True, help="auto, float32, float16 or bfloat16.")
    @functools.wraps(function)
    def run(*args, model: str, device: str, dtype: str, **kwargs) -> None:
        function(*args, load=functools.partial(_load, model, device, dtype), **kwargs)

    return run


def _load(model: str, device: str, dtype: str) -> SpeechLLM:
    from transformers.utils import logging as transformers_logging

    from speechprune.models import SpeechLLM

    transformers_logging.disable_progress_bar()  # one bar for each file of weights
    return SpeechLLM.from_pretrained(model, device, dtype)


def _names(_ctx: click.Context, _param: click.Parameter, value: str) -> list[str]:
    names = [part.strip() for part in value.split(",")]
    if not all(names):
        raise click.BadParameter(f"{value!r} is no list of sets; give names such as test or test,dev")
    return names


def _shard(_ctx: click.Context, _param: click.Parameter, value: str) -> Shard:
    from speechprune.files import Shard

    try:
        return Shard.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


with_sets = click.option("--sets", default="test", show_default=True, callback=_names, help="Sets, comma-separated.")
with_job = click.option(
    "--job",
    "shard",
    default="1/1",
    show_default=True,
    callback=_shard,
    metavar="J/N",
    help="Do the J-th of N shares of the recordings.",
)
_tts = click.option("--tts", metavar="ENGINE", help="Speak the transcripts of a corpus without recordings: espeak, ...")
_aligner = click.option(
    "--aligner", metavar="MODEL", help="CTC model, folder or name, that finds the sentences in recordings."
)


def with_corpus_options(function: Callable[..., None]) -> Callable[..., None]:
    """What some corpora take, and others refuse."""
    return _tts(_aligner(function))


with_progress = click.option("--progress/--no-progress", default=True, help="Show a progress bar, or none.")


@command
@click.argument("corpus")
@click.argument("folder", type=PATH)
@with_sets
@click.option("--nj", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@with_corpus_options
def download(corpus: str, folder: Path, sets: list[str], nj: int, **options) -> None:
    """Stage 0: fetch or synthesise CORPUS into FOLDER, or check what the user has there."""
    from speechprune.corpora import corpus_function, corpus_options

    chosen = corpus_options("download", corpus, options)
    corpus_function("download", corpus)(folder, sets=sets, nj=nj, **chosen)


@command
@click.argument("corpus")
@click.argument("folder", type=PATH)
@click.argument("out", type=PATH)
@with_sets
@with_corpus_options
def prepare(corpus: str, folder: Path, out: Path, sets: list[str], **options) -> None:
    """Stage 1: turn CORPUS in FOLDER into validated cuts, OUT/<set>/cuts.jsonl.gz."""
    from speechprune.corpora import corpus_function, corpus_options

    chosen = corpus_options("prepare", corpus, options)
    for name, cuts in corpus_function("prepare", corpus)(folder, out, sets=sets, **chosen).items():
        sizes = [(cut.duration, len(cut.custom["questions"])) for cut in cuts]
        hours, questions = sum(seconds for seconds, _ in sizes) / 3600, sum(asked for _, asked in sizes)
        logging.info("%s: %d recordings, %.2f h, %d questions", name, len(sizes), hours, questions)


@command
@click.argument("cuts", type=PATH)
def validate(cuts: Path) -> None:
    """Check that CUTS (a file or a folder of them) keep the cut contract; print every broken promise."""
    from speechprune.cuts import Problem, read_cuts, validate_cuts

    problems: list[Problem] = []
    found = list(read_cuts(cuts, problems))
    problems += validate_cuts(found)
    for problem in problems:
        click.echo(problem)
    if problems:
        raise ValueError(f"{cuts}: {len(problems)} problems, listed above")
    click.echo(f"{cuts}: {len(found)} cuts, no problems")


@command
@click.argument("cuts", type=PATH)
@click.option("--picture", type=PATH, help="Where the picture goes (.png, .pdf, .svg); beside CUTS if not given.")
def describe(cuts: Path, picture: Path | None) -> None:
    """Count what is in CUTS and draw durations and places of evidence."""
    from speechprune.cuts import Problem, read_cuts
    from speechprune.describe import describe as count
    from speechprune.describe import draw

    problems: list[Problem] = []
    found = count(read_cuts(cuts, problems))
    for problem in problems:
        logging.warning("%s", problem)
    click.echo(found)
    folder = cuts if cuts.is_dir() else cuts.parent
    logging.info("drew %s", draw(found, picture or folder / "description.png", folder.resolve().name))


@command
@click.argument("cuts", type=PATH)
@click.argument("dump", type=PATH)
@with_model
@with_job
@with_progress
def features(cuts: Path, dump: Path, load: Callable[[], SpeechLLM], shard: Shard, progress: bool) -> None:
    """Stage 2: encode the audio of CUTS once; audio tokens into Kaldi archives in DUMP. Resumes where it stopped."""
    from speechprune.features import extract_features

    summary = extract_features(cuts, dump, load(), shard, progress)
    logging.info("%s", summary)
    if summary.unwritten:
        raise OSError(f"{dump} is incomplete: {summary.unwritten} recordings could not be written; mend that and rerun")


@command
@click.argument("dump", type=PATH)
@click.argument("exp", type=PATH)
@click.option("--config", required=True, type=PATH, help="The systems to compare, such as conf/decode.yaml.")
@click.option(
    "--permute",
    type=click.Choice(["none", "cyclic"]),
    help="Ask once, or every rotation of the choices; for all systems, whatever the configuration says.",
)
@with_model
@with_job
@with_progress
def decode(
    dump: Path,
    exp: Path,
    config: Path,
    permute: str | None,
    load: Callable[[], SpeechLLM],
    shard: Shard,
    progress: bool,
) -> None:
    """Stage 3: prune and answer; hypotheses into EXP/<system>/hyp.<job>.jsonl. Resumes where it stopped."""
    from speechprune.decode import decode as run
    from speechprune.systems import load_config

    systems = load_config(config)
    if permute is not None:
        systems = systems.permuted(permute)
    logging.info("%s", run(dump, exp, systems, load(), shard, progress))


@command
@click.argument("exps", metavar="EXP...", nargs=-1, required=True, type=PATH)
@click.option(
    "--cuts",
    type=PATH,
    help="The cuts that were decoded: adds accuracy by position and duration, and what the text alone gives away.",
)
@click.option("--against", metavar="SYSTEM", show_default="original", help="Test others against it, such as rap_0.4.")
@click.option("--out", type=PATH, help="Where to write; the folder itself for one EXP, needed for several.")
def score(exps: tuple[Path, ...], cuts: Path | None, against: str | None, out: Path | None) -> None:
    """Stage 4: hypotheses -> score.json, tables and RESULTS.md in EXP; several EXP are compared in --out.

    An EXP is the folder of one model and one set, such as exp/mini/test.
    """
    from speechprune.score import write_comparison, write_results

    options = {"--cuts": cuts, "--against": against, "--out": out}
    given = [part for name, value in options.items() if value is not None for part in (name, str(value))]
    line = shlex.join(["speechprune", "score", *map(str, exps), *given])
    if len(exps) == 1:
        scores = write_results(exps[0], line, against, cuts, out)
        logging.info("%d systems scored: %s", len(scores), (out or exps[0]) / "RESULTS.md")
        return
    if out is None:
        raise ValueError(f"{len(exps)} folders, but no --out; say where their comparison goes")
    if cuts is not None:
        raise ValueError(f"--cuts {cuts} with {len(exps)} folders; it belongs to one: score that alone")
    write_comparison(exps, out, line, against)
    logging.info("%d experiments compared: %s", len(exps), out / "RESULTS.md")


@command
@click.argument("exp", type=PATH)
def report(exp: Path) -> None:
    """Stage 5: EXP/score.json -> figures in EXP/figures."""
    from speechprune.report.curves import draw_curves
    from speechprune.report.figures import draw_accuracy

    for draw in (draw_accuracy, draw_curves):
        for path in draw(exp / "score.json", exp / "figures"):
            logging.info("drew %s", path)


@command
@click.argument("wav", type=PATH)
@click.argument("question")
@click.option("--choice", "choices", multiple=True, required=True, help="A choice; give this option 2 to 10 times.")
@click.option("--pruner", default="speechprune", show_default=True, help="Method, such as speechprune, rap or full.")
@click.option("--rate", default=0.4, show_default=True, help="Share of the model's ordinary input to remove.")
@click.option("--query", default="question+choices", show_default=True, help="What pruners compare the audio with.")
@click.option("--seed", default=0, show_default=True, help="Of random pruners.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@with_model
def ask(
    wav: Path, question: str, choices: tuple[str, ...], load: Callable[[], SpeechLLM], as_json: bool, **options
) -> None:
    """Ask one question about WAV: the answer, its probability and which seconds were read."""
    import dataclasses
    import json

    answer = load().ask(wav, question, choices, **options)
    click.echo(json.dumps(dataclasses.asdict(answer)) if as_json else answer)


@command
@click.argument("data", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML; defaults stand in speechprune/mini/config.py.",
)
@click.option("--part", "parts", multiple=True, help="Only this part; may be given several times.")
def train_mini(data: Path, out: Path, config: Path | None, parts: tuple[str, ...]) -> None:
    """Train a mini speech LLM on DATA (prepared sets train, train_text, dev); OUT/model is the result."""
    from speechprune.mini.config import TrainConfig
    from speechprune.mini.train import PARTS, MiniTrainer

    if unknown := [part for part in parts if part not in PARTS]:
        raise ValueError(f"unknown part {unknown[0]!r}; choose from: {', '.join(PARTS)}")
    settings = TrainConfig.from_yaml(config) if config else TrainConfig()
    MiniTrainer(settings, data, out).run(parts or PARTS)


if __name__ == "__main__":
    sys.exit(main())
