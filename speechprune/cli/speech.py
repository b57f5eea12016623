"""Commands about how a set sounds: its words by an ASR, its quality."""

from __future__ import annotations

import logging
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from speechprune.cli.base import PATH, command, device_of, with_job, with_progress, with_urls
from speechprune.common.defaults import ASR

if TYPE_CHECKING:
    from speechprune.asr import Transcriber
    from speechprune.common.files import Shard
    from speechprune.models.folder import ModelFolder

_device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
_dtype = click.option("--dtype", default="auto", show_default=True, help="auto, float32, float16 or bfloat16.")
_asr = click.option("--asr", default=ASR, show_default=True, metavar="NAME", help="A Whisper: hub name or folder.")


def _loader(device: str, dtype: str, shard: Shard) -> Callable[[ModelFolder], Transcriber]:
    """Loads the ASR when it is known that something is to be heard."""

    def load(folder: ModelFolder) -> Transcriber:
        from transformers.utils import logging as transformers_logging

        from speechprune.asr import Transcriber

        transformers_logging.disable_progress_bar()
        transformers_logging.set_verbosity_error()  # a deprecation inside of Whisper's own generate
        return Transcriber(folder, device_of(shard) if device == "auto" else device, dtype)

    return load


@command
@click.argument("cuts", type=PATH)
@click.argument("out", metavar="OUT.jsonl", type=PATH)
@_asr
@_device
@_dtype
@with_urls
@with_job
@with_progress
def transcribe(
    cuts: Path, out: Path, asr: str, device: str, dtype: str, urls: bool, shard: Shard, progress: bool | None
) -> None:
    """Write down what is said in CUTS, one line a recording in OUT.jsonl, and its word errors. Resumes.

    Each job keeps its lines in OUT.<job>.jsonl; the one that ends last writes OUT.jsonl. On SIGTERM or SIGUSR1 the
    recording at hand is finished; exit status 75 says that there are more.
    """
    from speechprune.common.stopping import leave, stop_on_signals

    with stop_on_signals() as stop:  # imports take seconds, too
        from speechprune.asr.stage import transcribe_cuts

        sources = ("file", "url") if urls else ("file",)
        summary = transcribe_cuts(cuts, out, asr, _loader(device, dtype, shard), shard, progress, stop, sources)
    logging.info("%s", summary)
    leave(stop, summary.left)
    if summary.failed and not summary.done and not summary.skipped and shard.jobs == 1:
        raise ValueError(f"{out}: all {summary.failed} recordings failed, the first: {summary.first_error}")
    if summary.whole:
        logging.info("wrote %s", out)


def _sets(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    """{name: cuts} of ``NAME=CUTS`` words; one without a name is called as its folder."""
    found: dict[str, Path] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or Path(value).exists():
            path = value
            name = Path(value).resolve().name if Path(value).is_dir() else Path(value).resolve().parent.name
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or name == "figures":
            raise click.BadParameter(f"{name!r} is no name of a set; give NAME=CUTS, in letters, digits and _.-")
        if name in found:
            raise click.BadParameter(f"two sets are called {name}; give NAME=CUTS, such as kokoro={path}")
        found[name] = Path(path)
    return found


@command
@click.argument("sets", metavar="[NAME=]CUTS...", nargs=-1, required=True, callback=_sets)
@click.argument("out", type=PATH)
@_asr
@click.option("--mos", metavar="DIR", type=PATH, help="Folder of DNSMOS; by default that of the package speechmos.")
@click.option(
    "--mos-hop",
    default=1,
    show_default=True,
    type=click.IntRange(1, 9),
    help="Seconds between DNSMOS' windows of 9 s: 1 as its authors have it, more is quicker.",
)
@click.option("--max-wer", type=click.FloatRange(0), help="Drop recordings with a higher word error rate, such as 0.2.")
@click.option(
    "--min-mos", type=click.FloatRange(1, 5), help="Drop recordings with a lower overall DNSMOS, such as 2.5."
)
@_device
@_dtype
@with_urls
@with_progress
def quality(
    sets: dict[str, Path],
    out: Path,
    asr: str,
    mos: Path | None,
    mos_hop: int,
    max_wer: float | None,
    min_mos: float | None,
    device: str,
    dtype: str,
    urls: bool,
    progress: bool | None,
) -> None:
    """Word errors, DNSMOS and durations of one or several sets: OUT/QUALITY.md, with the worst to listen to. Resumes.

    With --max-wer or --min-mos, OUT/<name>/cuts.jsonl.gz is the set without the recordings that fail, and dropped.jsonl
    says why. On SIGTERM or SIGUSR1 the recording at hand is finished; exit status 75 says that there are more.
    """
    from speechprune.common.stopping import leave, stop_on_signals

    with stop_on_signals() as stop:  # imports take seconds, too
        from speechprune.common.extras import require
        from speechprune.common.files import Shard
        from speechprune.quality.dnsmos import DNSMOS
        from speechprune.quality.hearing import Measures, measure
        from speechprune.quality.sets import Thresholds, judge, write_kept

        for module in ("jiwer", "whisper_normalizer", "matplotlib"):
            require(module)  # before hours of work
        sources = ("file", "url") if urls else ("file",)
        load = _loader(device, dtype, Shard(1, 1))
        by = Measures(asr, load, DNSMOS(mos, mos_hop), progress, stop, sources)
        thresholds, judged = Thresholds(max_wer, min_mos), []
        for name, cuts in sets.items():
            samples = measure(name, cuts, out / name, by)
            if samples is None:
                leave(stop, 1)
                return
            judged.append(judge(name, samples, thresholds))
            if kept := write_kept(judged[-1], thresholds, cuts, out / name):
                logging.info("%s: %d of %d dropped: %s", name, len(judged[-1].dropped), len(samples), kept)
    from speechprune.asr.kept import model_name
    from speechprune.report.quality_report import write_quality

    told = {"ASR": model_name(asr), "DNSMOS": f"P.835, windows of 9.01 s every {mos_hop} s"}
    logging.info("wrote %s", write_quality(judged, out, told, shlex.join(["speechprune", *sys.argv[1:]])))
