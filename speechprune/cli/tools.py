"""Commands beside the stages: ask a recording, look at cuts, count costs, measure speed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from speechprune.cli.base import (
    PATH,
    Loader,
    command,
    with_metric,
    with_model,
    with_progress,
    with_urls,
)
from speechprune.common.defaults import ASK_MODES, ASR, PRUNER, QUERY, RATE, SEED, TEXT_TOKENS
from speechprune.decoding.modes import MODES, WAYS

if TYPE_CHECKING:
    from speechprune.models import SpeechLLM


@command
@click.argument("wav", type=PATH)
@click.argument("question")
@click.option("--choice", "choices", multiple=True, required=True, help="A choice; give this option 2 to 10 times.")
@click.option("--pruner", default=PRUNER, show_default=True, help="Method, such as speechprune, rap or full.")
@click.option("--rate", default=RATE, show_default=True, help="Share of the model's ordinary input to remove.")
@click.option("--query", default=QUERY, show_default=True, help="What pruners compare the audio with.")
@click.option("--seed", default=SEED, show_default=True, help="Of random pruners.")
@click.option(
    "--mode",
    type=click.Choice(ASK_MODES),
    default=ASK_MODES[0],
    show_default=True,
    help="The likeliest letter, or the choice, unshown, that the audio makes likelier, for small models.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@with_model
@with_progress
def ask(
    wav: Path, question: str, choices: tuple[str, ...], load: Callable[[], SpeechLLM], as_json: bool, **options
) -> None:
    """Ask one question about WAV: the answer, its probability and which seconds were read."""
    import dataclasses
    import json

    answer = load().ask(wav, question, choices, **options)
    click.echo(json.dumps(dataclasses.asdict(answer)) if as_json else answer)


@command
@with_model
@click.option("--audio-tokens", type=click.IntRange(1), help="What the decoder reads; by default Table I's rows.")
@click.option("--text-tokens", default=TEXT_TOKENS, show_default=True, type=click.IntRange(0), help="Of the prompt.")
@click.option("--seconds", type=float, help="Length of the recording; by default what the audio tokens need.")
@click.option("--measure", is_flag=True, help="Also load the weights and time the prefill on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def profile(load: Loader, measure: bool, as_json: bool, **options) -> None:
    """What a prefill costs: Table I's columns, the true counts and, if asked, the time on this machine.

    Costs follow from the model's config.json. Where and how it runs (--device, --dtype, --attention, --device-map,
    --quantize) matters with --measure.
    """
    import json

    from speechprune.costs.profiling import format_profile
    from speechprune.costs.profiling import profile as run

    result = run(load.model, load=load if measure else None, **options)
    click.echo(json.dumps(result) if as_json else format_profile(result))


@command
@click.argument("lines", metavar="[LINE]...", nargs=-1, type=click.Choice(["sweep", "long", "pruning", "gpu"]))
@click.option("--recordings", default=5, show_default=True, type=click.IntRange(2), help="Of sweep and long.")
@click.option(
    "--cuts", type=PATH, help="A prepared set for sweep and long; by default mini_sir's dev set is synthesised."
)
@click.option("--repeats", default=7, show_default=True, type=click.IntRange(2), help="Of pruning.")
@click.option(
    "--length",
    "lengths",
    multiple=True,
    type=click.IntRange(1),
    help="Audio tokens that pruning times every pruner at; several times. By default 750, 2250 and 90000 (13 GB).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--out", type=PATH, help="Also write a Markdown page, such as docs/performance.md.")
@with_model
@with_progress
def bench(
    lines: tuple[str, ...],
    recordings: int,
    cuts: Path | None,
    repeats: int,
    lengths: tuple[int, ...],
    as_json: bool,
    out: Path | None,
    load: Loader,
    progress: bool | None,
) -> None:
    """Measure speed on this machine: sweep, an hour of audio, pruning's own cost, and a GPU.

    \b
    sweep    features + decode over Table I's systems against one question at a time
    long     ask about an hour of audio, and about 90 s: time and memory
    pruning  SpeechPrune beside the unpruned prefill at Qwen2-Audio-7B's sizes, and every pruner by itself
    gpu      what `make gpu` does: Qwen2-Audio-7B with random weights; skipped without a GPU

    sweep and long take the model that --model names; the other two bring their own.
    """
    import json
    import shlex
    import sys

    from speechprune.bench.measure import FIGURE, TITLES, format_bench, page
    from speechprune.bench.measure import bench as run
    from speechprune.bench.selection import LENGTHS
    from speechprune.common.files import atomic_write

    shown, sizes = progress is not False, sorted(lengths or LENGTHS)
    result = run(lines or tuple(TITLES), load, load.words(), cuts, recordings, repeats, shown, sizes)
    click.echo(json.dumps(result) if as_json else format_bench(result))
    if out is not None:
        if selection := result["lines"].get("pruning", {}).get("selection"):
            from speechprune.report.figures import save
            from speechprune.report.small_multiples import selection_figure

            figure = out.parent / FIGURE
            save(selection_figure(selection, "speechprune"), figure.parent, figure.name)
        with atomic_write(out) as file:
            file.write(page(result, shlex.join(["speechprune", *sys.argv[1:]]), out))


@command
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def pruners(as_json: bool) -> None:
    """Name the pruners: what each does, its paper, what it needs besides the audio tokens."""
    import json

    from speechprune.pruners.listing import format_listing, listing

    found = listing()
    click.echo(json.dumps(found) if as_json else format_listing(found))


@command
@click.argument("exp", type=PATH)
@click.option("--against", default="speechprune", show_default=True, help="System that the others are tested against.")
@click.option("--out", type=PATH, help="Write a Markdown page, such as ZOO.md, and figures/zoo.png beside it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
@click.option("--made-by", "made_by", multiple=True, help="Command that made EXP, for the page; several times.")
@click.option("--by", "way", type=click.Choice(WAYS), help="Which rows, where EXP has both.")
@with_metric
def rank(
    exp: Path,
    against: str,
    out: Path | None,
    as_json: bool,
    made_by: tuple[str, ...],
    way: str | None,
    metric: str | None,
) -> None:
    """Rank the systems of EXP at each budget, with paired tests: many methods at one glance."""
    import dataclasses
    import json
    import shlex
    import sys

    from speechprune.common.files import Problem, atomic_write
    from speechprune.scoring.leaderboard import rank as run
    from speechprune.scoring.leaderboard import ranking_page

    problems: list[Problem] = []
    found = run(exp, against, problems, way, metric)
    for problem in problems:
        logging.warning("%s", problem)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(entry) for entry in found]))
    commands = [*made_by, shlex.join(["speechprune", *sys.argv[1:]])]
    if out is None:
        if not as_json:
            click.echo(ranking_page(found, against, commands, []))
        return
    from speechprune.report.figures import save
    from speechprune.report.small_multiples import zoo_figure

    written = save(zoo_figure(found, against), out.parent / "figures", "zoo")
    figures = [path.relative_to(out.parent).as_posix() for path in written if path.suffix == ".png"]
    with atomic_write(out) as file:
        file.write(ranking_page(found, against, commands, figures))


@command
@click.argument("cuts", type=PATH)
@with_urls
def validate(cuts: Path, urls: bool) -> None:
    """Check that CUTS (a file or a folder of them) keep the cut contract; print every broken promise."""
    from speechprune.data.cuts import Problem, read_cuts, validate_cuts

    problems: list[Problem] = []
    found = list(read_cuts(cuts, problems))
    problems += validate_cuts(found, ("file", "url") if urls else ("file",))
    for problem in problems:
        click.echo(problem)
    if problems:
        raise ValueError(f"{cuts}: {len(problems)} problems, listed above")
    if not found:
        raise ValueError(f"{cuts}: not one cut in it, expected what stage 1 (prepare) writes")
    click.echo(f"{cuts}: {len(found)} cuts, no problems")


@command
@click.argument("cuts", type=PATH)
@click.option("--picture", type=PATH, help="Where the picture goes (.png, .pdf, .svg); beside CUTS if not given.")
def describe(cuts: Path, picture: Path | None) -> None:
    """Count what is in CUTS and draw durations and places of evidence."""
    from speechprune.data.cuts import Problem, read_cuts
    from speechprune.data.describe import check_picture, describe_cuts, draw

    folder = cuts if cuts.is_dir() else cuts.parent
    picture = picture or folder / "description.png"
    check_picture(picture)
    problems: list[Problem] = []
    found = describe_cuts(read_cuts(cuts, problems), problems)
    for problem in problems:
        logging.warning("%s", problem)
    click.echo(found)
    logging.info("drew %s", draw(found, picture, folder.resolve().name))


@command
@click.argument("stage", type=click.Choice(["features", "transcribe", "decode"]))
@click.argument("source", metavar="CUTS|DUMP", type=PATH)
@click.argument("target", metavar="DUMP|OUT.jsonl|EXP", type=PATH)
@click.option("--config", type=PATH, help="As for decode, which needs it.")
@click.option("--permute", type=click.Choice(["none", "cyclic"]), help="As for decode.")
@click.option("--mode", type=click.Choice(MODES), help="As for decode.")
@click.option("--asr", default=ASR, show_default=True, help="As for transcribe.")
def progress(
    stage: str, source: Path, target: Path, config: Path | None, permute: str | None, mode: str | None, asr: str
) -> None:
    """Print how much of stage 2 or 3 is done, as DONE/EXPECTED recordings, or rows of all systems, and what failed.

    \b
    speechprune progress features CUTS DUMP
    speechprune progress transcribe CUTS OUT.jsonl --asr NAME
    speechprune progress decode DUMP EXP --config conf/decode.yaml
    """
    from speechprune.decoding.progress import count_recordings, count_rows, count_transcripts

    if (stage == "decode") != (config is not None):
        raise click.UsageError("decode needs --config" if config is None else "--config belongs to decode")
    if target.is_file() and stage != "transcribe":
        order = "CUTS DUMP" if stage == "features" else "DUMP EXP"
        raise click.UsageError(f"{target} is a file; the order is {order}")
    if stage == "transcribe":
        click.echo(count_transcripts(source, target, asr))
    elif config is None:
        click.echo(count_recordings(source, target))
    else:
        click.echo(count_rows(source, target, config, permute, mode))
