"""Commands about how a set sounds: its words by an ASR."""

from __future__ import annotations

import logging
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

        def load(folder: ModelFolder) -> Transcriber:
            from transformers.utils import logging as transformers_logging

            from speechprune.asr import Transcriber

            transformers_logging.disable_progress_bar()
            transformers_logging.set_verbosity_error()  # a deprecation inside of Whisper's own generate
            return Transcriber(folder, device_of(shard) if device == "auto" else device, dtype)

        sources = ("file", "url") if urls else ("file",)
        summary = transcribe_cuts(cuts, out, asr, load, shard, progress, stop, sources)
    logging.info("%s", summary)
    leave(stop, summary.left)
    if summary.failed and not summary.done and not summary.skipped and shard.jobs == 1:
        raise ValueError(f"{out}: all {summary.failed} recordings failed, the first: {summary.first_error}")
    if summary.whole:
        logging.info("wrote %s", out)
