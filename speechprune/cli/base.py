"""What the subcommands share: the group, how errors are shown, options. Heavy imports happen inside bodies."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from speechprune import __version__
from speechprune.common.extras import advice
from speechprune.decoding.modes import METRICS

if TYPE_CHECKING:
    from speechprune.common.files import Shard
    from speechprune.models import SpeechLLM

PATH = click.Path(path_type=Path)


class _OneLine(logging.Formatter):
    """Ids and file names that a message names cannot begin a line of their own, or command a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        from speechprune.common.names import escaped

        if isinstance(record.args, tuple):
            record.args = tuple(escaped(arg) if isinstance(arg, str) else arg for arg in record.args)
        return escaped(super().format(record), kept="\n\t")


class _Commands(click.Group):
    """Lists commands in the order of the stages, not of the alphabet; takes words that are text."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for word in args:
            if "\0" in word or any("\ud800" <= letter <= "\udfff" for letter in word):
                raise click.UsageError(f"{word!a} is not UTF-8 text; rename the file, or write the text in UTF-8")
        return super().parse_args(ctx, args)

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
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine(form, "%Y-%m-%dT%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for chatty in ("httpx", "httpx2", "matplotlib", "fontTools"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("huggingface_hub.utils._http").setLevel(logging.ERROR)  # every retry, twice


def command(function: Callable[..., None]) -> click.Command:
    """A subcommand whose expected errors are one clear line and exit status 1."""

    @main.command(name=function.__name__.replace("_", "-"), short_help=(function.__doc__ or "").splitlines()[0])
    @click.pass_context
    @functools.wraps(function)
    def run(ctx: click.Context, *args, **kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception as error:
            if ctx.obj or (sentence := _sentence(error)) is None:
                raise
            from speechprune.common.names import escaped

            raise click.ClickException(escaped(sentence, kept="\n")) from error

    return run


def _sentence(error: Exception) -> str | None:
    """What a user is told about an error that their input or machine made; None for a bug, and for what click ends."""
    if isinstance(error, BrokenPipeError):  # whoever reads has had enough, as head has: click ends quietly
        return None
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ValueError | OSError) and str(error):
        return str(error)
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "AcceleratorError"):  # torch's
        reason = (str(error).splitlines() or ["no memory left"])[0]
        return f"{type(error).__name__}: {reason}; give the model a larger or another device (--device, --quantize)"
    return advice(error) if isinstance(error, ImportError) else None


@dataclass(frozen=True)
class Loader:
    """Loads the model that the options name, when everything else has been checked.

    Attributes:
        model: its name.
        options: as ``load_model`` takes them.
    """

    model: str
    options: dict

    def __call__(self) -> SpeechLLM:
        return load_model(self.model, **self.options)

    def words(self) -> list[str]:
        """The options as a command line has them, for a process that loads the model itself."""
        given = {"model": self.model, **self.options, "shard": None}
        return [word for name, value in given.items() if value for word in (f"--{name.replace('_', '-')}", value)]


_MODEL_OPTIONS = [
    click.option("--model", default="mini", show_default=True, help="'mini' (ships), a Hugging Face folder or name."),
    click.option("--dtype", default="auto", show_default=True, help="auto, float32, float16 or bfloat16."),
    click.option(
        "--attention", metavar="NAME", help="sdpa, eager, flash_attention_2, ...; transformers chooses if not given."
    ),
    click.option("--device-map", metavar="MAP", help="Spread a large model over the GPUs: auto, balanced, ..."),
    click.option("--quantize", type=click.Choice(["8bit", "4bit"]), help="Quantise the weights with bitsandbytes."),
]


def with_model(function: Callable[..., None]) -> Callable[..., None]:
    """Options that say which model, and where and how it runs; the body gets ``load``, a ``Loader``.

    Stands above ``with_job``, where a command has both.
    """
    turns = "; with auto, the jobs of --job take turns over the GPUs of the machine."
    shared = any(parameter.name == "shard" for parameter in getattr(function, "__click_params__", []))
    help_text = "auto, cpu, cuda, cuda:1, ..." + (turns if shared else "")
    device = click.option("--device", default="auto", show_default=True, help=help_text)

    @functools.wraps(function)
    def run(*args, model: str, **kwargs) -> None:
        options = {name: kwargs.pop(name) for name in ("device", "dtype", "attention", "device_map", "quantize")}
        function(*args, load=Loader(model, options | {"shard": kwargs.get("shard")}), **kwargs)

    model, *others = _MODEL_OPTIONS
    for option in reversed([model, device, *others]):
        run = option(run)
    return run


def load_model(model: str, device: str, dtype: str, shard: Shard | None = None, **options: str | None) -> SpeechLLM:
    """The model on ``device``; of a command that runs as one of several jobs, ``shard`` is the job."""
    import torch
    from transformers.utils import logging as transformers_logging

    from speechprune import SpeechLLM

    transformers_logging.disable_progress_bar()  # one bar for each file of weights
    if device == "auto" and shard is not None and options.get("device_map") is None:
        device = device_of(shard)
    llm = SpeechLLM.from_pretrained(model, device, dtype, **options)
    if llm.device.type == "cuda":
        torch.cuda.set_device(llm.device)  # what synchronises or measures "the GPU" means this one
    return llm


def device_of(shard: Shard) -> str:
    """The GPU of a job: jobs take turns over those of the machine. Under Slurm a task sees its own as the only one."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return f"cuda:{(shard.job - 1) % count}" if count else "auto"


def _names(_ctx: click.Context, _param: click.Parameter, value: str) -> list[str]:
    names = [part.strip() for part in value.split(",")]
    if not all(names):
        raise click.BadParameter(f"{value!r} is no list of sets; give names such as test or test,dev")
    return names


def _shard(_ctx: click.Context, _param: click.Parameter, value: str) -> Shard:
    from speechprune.common.files import Shard

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


with_voices = click.option(
    "--voices",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With --tts: names of the voices that may speak, one a line.",
)
_level = click.option(
    "--level",
    type=click.FloatRange(-60, 0),
    metavar="DB",
    help="With --tts: every sentence at this RMS, in dB below full scale, such as -23; else as the engine speaks it.",
)


def with_corpus_options(function: Callable[..., None]) -> Callable[..., None]:
    """What some corpora take, and others refuse."""
    return _tts(with_voices(_level(_aligner(function))))


with_nj = click.option("--nj", default=1, show_default=True, type=click.IntRange(1), help="Processes.")


with_urls = click.option(
    "--urls", is_flag=True, help="Also read audio that the cuts take from the net (http, https, s3, gs)."
)
with_progress = click.option(
    "--progress/--no-progress",
    default=None,
    help="Show a progress bar, or none; if neither is given, a bar in a terminal and a log line every 30 s elsewhere.",
)
with_metric = click.option(
    "--metric",
    type=click.Choice([*METRICS]),
    show_default="pmi where a system has answered without audio, else mean",
    help="Of mode cloze, how choices compare. sum: log-probability; mean: per token; pmi: less the same without audio.",
)
