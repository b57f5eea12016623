"""The stages of building a benchmark like SPIRAL, one command each; local/build_sir.sh runs them in order."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from speechprune.cli.base import PATH, command, with_nj, with_progress, with_voices
from speechprune.common.defaults import CHAT_MODEL, CHAT_URL, LEVEL, SECONDS, SEED, TTS, WRITER

if TYPE_CHECKING:
    from speechprune.construction.chat import Chat
    from speechprune.construction.writers import Writer

_CHAT = {
    "model": click.option("--model", default=CHAT_MODEL, show_default=True, help="Of the endpoint."),
    "base_url": click.option("--base-url", default=CHAT_URL, show_default=True, help="Any OpenAI-compatible endpoint."),
    "price": click.option("--price", metavar="IN,OUT", help="Dollars for a million tokens, where it is not known."),
    "max_cost": click.option("--max-cost", type=click.FloatRange(0), help="Dollars that BUILD may cost in all runs."),
    "temperature": click.option("--temperature", default=1.0, show_default=True, help="Of sampling."),
    "max_tokens": click.option("--max-tokens", default=4096, show_default=True, help="Of one reply."),
    "timeout": click.option("--timeout", default=120.0, show_default=True, help="Seconds without an answer."),
    "retries": click.option("--retries", default=6, show_default=True, help="Of a call that fails on its way."),
    "requests_per_minute": click.option(
        "--requests-per-minute", type=click.IntRange(1), help="No more calls than that."
    ),
    "concurrent": click.option(
        "--concurrent", default=8, show_default=True, type=click.IntRange(1), help="Calls at once."
    ),
}


def _with_chat(function: Callable[..., None]) -> Callable[..., None]:
    """Options of an endpoint, whose key is that of the environment; the body gets ``chat``, which takes the build."""

    @functools.wraps(function)
    def run(*args, **kwargs) -> None:
        options = {name: kwargs.pop(name) for name in _CHAT}
        function(*args, chat=functools.partial(_chat, options), **kwargs)

    for option in reversed(_CHAT.values()):
        run = option(run)
    return run


@contextmanager
def _chat(options: dict, build: Path) -> Iterator[Chat]:
    from speechprune.construction.chat import Chat, ChatOptions
    from speechprune.construction.reply_store import Replies

    with Replies(build) as replies:
        yield Chat(ChatOptions(**options), replies)


def _splits(_ctx: click.Context, _param: click.Parameter, value: str) -> dict[str, float]:
    try:
        return {name.strip(): float(share) for name, share in (part.split("=") for part in value.split(","))}
    except ValueError:
        raise click.BadParameter(f"{value!r}: give shares that sum to 1, such as train=0.8,dev=0.1,test=0.1") from None


def _range(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[float, float]:
    try:
        least, most = map(float, value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r}: give the least and the most, such as 60,120") from None
    return least, most


@command
@click.argument("build", type=PATH)
@click.option("--samples", required=True, type=click.IntRange(1), help="How many recordings, with a question each.")
@click.option("--topics", type=PATH, help="YAML: scenario -> topic -> subtopics; ours if not given.")
@click.option("--seconds", default=SECONDS, show_default=True, callback=_range, help="Least and most of a recording.")
@click.option("--splits", default="test=1", show_default=True, callback=_splits, help="Shares; no topic is in two.")
@click.option("--seed", default=SEED, show_default=True, help="The same seed makes the same plan.")
def plan(build: Path, samples: int, topics: Path | None, seconds: tuple[float, float], splits: dict, seed: int) -> None:
    """Build, stage 0: who talks about what, BUILD/plan.jsonl, and the prompts of BUILD/prompts."""
    from speechprune.construction.plan import make_plan, write_plan
    from speechprune.construction.prompt_files import copy_prompts
    from speechprune.construction.topics import OURS, read_topics

    found = read_topics(topics or OURS)
    briefs = make_plan(found, samples, seconds, splits, seed)
    copy_prompts(build)
    used = len({(brief.scenario, brief.topic) for brief in briefs})
    logging.info("%s: %d samples about %d of %d topics", write_plan(build, briefs), len(briefs), used, len(found))


@command
@click.argument("build", type=PATH)
@click.option("--writer", "name", default=WRITER, show_default=True, help="grammar, offline; or endpoint, any LLM.")
@click.option("--attempts", default=4, show_default=True, type=click.IntRange(1), help="Drafts of a sample, at most.")
@click.option("--licence", default="not stated", show_default=True, help="Of what the endpoint writes, for the card.")
@click.option("--estimate", is_flag=True, help="Say what the endpoint would take, and call nothing.")
@_with_chat
@with_progress
def write(
    build: Path,
    name: str,
    attempts: int,
    licence: str,
    estimate: bool,
    chat: Callable,
    progress: bool | None,
) -> None:
    """Build, stage 1: dialogues and questions, BUILD/samples.jsonl, each checked, and written anew if it is not good.

    With --writer endpoint the key is read from OPENAI_API_KEY alone. Every reply is kept in BUILD/replies.jsonl before
    it is read, so that a run that was killed pays for nothing twice.
    """
    from speechprune.construction.writing import pending, write_samples

    with _writer(name, build, chat, licence) as writer:
        _, todo = pending(build, writer)
        logging.info("to write: %s", writer.estimate(todo))
        if estimate:
            return
        count, failed = write_samples(build, writer, attempts, progress)
    for failure in failed:
        logging.warning("%s failed: %s", failure.id, "; ".join(failure.reasons))
    logging.info("%s: %d samples written, %d failed", build, count, len(failed))
    if lacking := sum(failure.again for failure in failed):
        raise OSError(f"{build}: {lacking} samples got no reply; run the same command again to ask for them")


@contextmanager
def _writer(name: str, build: Path, chat: Callable, licence: str) -> Iterator[Writer]:
    from speechprune.construction.prompt_files import read_prompts
    from speechprune.construction.writers import writer_class

    make: Callable[..., Writer] = (cls := writer_class(name))
    if not cls.chats:
        yield make()
        return
    with chat(build) as opened:
        yield make(opened, read_prompts(build), licence)


@command
@click.argument("build", type=PATH)
@click.option("--seed", default=SEED, show_default=True, help="Of the order of the choices.")
@click.option("--allow-skew", is_flag=True, help="Go on although something finds answers without listening.")
@click.option("--balance", is_flag=True, help="Leave out what counting words finds, beyond one in four.")
@click.option("--answerable", is_flag=True, help="Drop what the endpoint can answer without the recording.")
@_with_chat
def check(build: Path, seed: int, allow_skew: bool, balance: bool, answerable: bool, chat: Callable) -> None:
    """Build, stage 2: the good samples, BUILD/checked.jsonl, with letters in balance; refuses what can be guessed."""
    from contextlib import ExitStack

    from speechprune.construction.checking import check_samples, find_answerable
    from speechprune.construction.prompt_files import read_prompts

    with ExitStack() as stack:
        blind = None
        if answerable:
            opened = stack.enter_context(chat(build))
            blind = functools.partial(find_answerable, chat=opened, prompts=read_prompts(build))
        samples, left = check_samples(build, seed, allow_skew, balance, blind)
    logging.info("%s: %d samples are good, %d left out", build, len(samples), len(left))


@command
@click.argument("build", type=PATH)
@click.option("--tts", default=TTS, show_default=True, metavar="ENGINE", help="espeak, kokoro, kokoro:FOLDER, ...")
@with_voices
@click.option("--level", default=LEVEL, show_default=True, type=click.FloatRange(-60, 0), help="RMS of a sentence, dB.")
@with_nj
@with_progress
def speak(build: Path, tts: str, voices: Path | None, level: float, nj: int, progress: bool | None) -> None:
    """Build, stage 3: speak the good samples, BUILD/spoken, as cuts that know when each sentence is said. Resumes."""
    from speechprune.construction.speaking import speak_samples
    from speechprune.tts.transcripts import Synthesis

    synthesis = cast(Synthesis, Synthesis.read(tts, voices, level))  # None without an engine
    cuts = list(speak_samples(build, synthesis, nj, progress))
    seconds = sum(cut.duration for cut in cuts)
    logging.info("%s: %d samples spoken, %.1f s each on average", build, len(cuts), seconds / len(cuts))


@command
@click.argument("build", type=PATH)
@click.option("--name", required=True, help="Of the corpus, which tables go by: BUILD/NAME holds it.")
@click.option("--cuts", type=PATH, help="Publish these alone, where some were dropped after they were spoken.")
@click.option("--sheet", default=20, show_default=True, type=click.IntRange(0), help="Samples to check by hand.")
@click.option("--seed", default=SEED, show_default=True, help="Of the draw of these samples.")
@click.option("--made-by", multiple=True, help="Command that made it, for the card; several times.")
def publish(build: Path, name: str, cuts: Path | None, sheet: int, seed: int, made_by: tuple[str, ...]) -> None:
    """Build, stage 5: a corpus in SPIRAL's format, BUILD/NAME, with its card and a page for checking it by hand."""
    from speechprune.construction.publishing import publish as run

    samples = run(build, name, cuts, sheet, seed, made_by)
    logging.info("%s: %d samples; to prepare: speechprune prepare benchmark FOLDER data", build / name, len(samples))


@command
@click.argument("cuts", type=PATH)
@click.argument("exp", type=PATH)
@click.argument("out", type=PATH)
@click.option("--system", default="original", show_default=True, help="Whose mistakes: a system of EXP, by its label.")
@click.option("--benchmark", type=PATH, help="Also write data_h.jsonl into this folder, a corpus in SPIRAL's format.")
def hard(cuts: Path, exp: Path, out: Path, system: str, benchmark: Path | None) -> None:
    """The hard subset of CUTS: what the model of EXP answered wrongly without pruning, as SPIRAL-H is of SPIRAL."""
    from speechprune.construction.publishing import write_hard_rows
    from speechprune.scoring.hard_subset import hard_questions, write_hard

    questions, answered, problems = hard_questions(cuts, exp, system)
    for problem in problems:
        logging.warning("%s", problem)
    ids = write_hard(cuts, out, questions)
    logging.info("%s: %d of %d questions, in %d recordings", out, len(questions), len(answered), len(ids))
    if benchmark is not None:
        count = write_hard_rows(benchmark, ids)
        logging.info("%s: %d hard rows", benchmark, count)
