"""Many questions at once: time to the first token of the answer, memory, and what happens where it does not suffice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
from torch import Tensor
from transformers import Qwen2AudioForConditionalGeneration

from speechprune.bench.prefill import Requests, gigabytes
from speechprune.bench.sizes import SECONDS
from speechprune.bench.timing import milliseconds, side_by_side
from speechprune.common.defaults import TEXT_TOKENS
from speechprune.common.markdown import aligned_table
from speechprune.decoding.answering import Answerer
from speechprune.decoding.systems import System
from speechprune.models import Prompt, SpeechLLM
from speechprune.pruners import get_pruner

AT_ONCE = (1, 2, 4, 8, 16, 32)
RATES = (None, 0.4, 0.8)  # None: Original
QUESTIONS, ROWS = 64, 8  # of the batch that does not fit, and for how many of them there is memory
ABOUT = (
    "So many questions at once, each about a recording of its own: from the spectrograms through encoder, SpeechPrune "
    "and prefill to the first token of every answer, as one batch. Original hears one window, the others the whole "
    "recording. `per s`: questions answered in a second."
)


@torch.inference_mode()
def first_tokens(
    model: Qwen2AudioForConditionalGeneration,
    at_once: Sequence[int] = AT_ONCE,
    repeats: int = 5,
    seconds: float = SECONDS,
) -> Iterator[dict]:
    """Time to the first token.

    Args:
        model: any Qwen2-Audio.
        at_once: questions in a batch.
        repeats: timed rounds, at least 2, after one other.
        seconds: of each recording.
    Yields:
        {at_once, rate, time, per_second, peak_bytes (None on a CPU)}, or {at_once, error} where memory does not
        suffice.
    """
    for count in at_once:
        try:
            found = _first_tokens(model, count, repeats, seconds)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            found = [{"at_once": count, "error": f"out of memory on {model.device}"}]
        yield from found


def _first_tokens(model: Qwen2AudioForConditionalGeneration, count: int, repeats: int, seconds: float) -> list[dict]:
    asked = Requests(model, count, seconds)
    runs = {str(rate): partial(asked.first_token, rate) for rate in RATES}
    peaks = {name: asked.peak(run) for name, run in runs.items()}  # and a warm-up
    rows = []
    for rate, (name, times) in zip(RATES, side_by_side(runs, model.device, repeats, warm_up=0).items(), strict=True):
        row = {"at_once": count, "rate": rate, "time": times.as_dict(), "per_second": count / times.median_seconds}
        rows.append(row | {"peak_bytes": peaks[name]})
    return rows


def format_first_tokens(rows: Sequence[dict]) -> str:
    body = []
    for row in rows:
        if "error" in row:
            body.append([str(row["at_once"]), row["error"], *[""] * 4])
            continue
        rate = "-" if row["rate"] is None else f"{row['rate']:g}"
        cells = [*milliseconds(row["time"]), f"{row['per_second']:.3g}", gigabytes(row["peak_bytes"])]
        body.append([str(row["at_once"]), rate, *cells])
    head = ["at once", "PR", "median ms", "quartiles ms", "per s", "peak GB"]
    return f"{ABOUT}\n\n{aligned_table(head, body)}"


@torch.inference_mode()
def halving(
    model: Qwen2AudioForConditionalGeneration, questions: int = QUESTIONS, rows: int = ROWS, seconds: float = SECONDS
) -> Iterator[dict]:
    """What stage 3 does with a batch that memory does not suffice for: it is halved until it fits; nothing is lost.

    Args:
        model: any Qwen2-Audio.
        questions: that are asked at once.
        rows: for which there is memory. On a GPU this process is forbidden the rest of it; elsewhere a prefill of more
            rows is refused, so that only the bookkeeping is seen.
        seconds: of the recording.
    Yields:
        one {questions, answered, errors, tokens_before, tokens_after}: ``tokens_*`` are ``batch_tokens``.
    """
    asked = Requests(model, 1, seconds)
    before = questions * (asked.window + TEXT_TOKENS)
    llm = _LLM(asked, most=None if model.device.type == "cuda" else rows)
    answerer = Answerer(cast(SpeechLLM, llm), batch_tokens=before, together=True)
    listed = [{"question": f"Which of {k}?", "choices": ["yes", "no"]} for k in range(questions)]
    tokens, system = asked.inputs.S[0, : asked.window], System("full", get_pruner("full"), None)
    with _memory_for(model, rows, seconds):
        replies = [reply for _, found in answerer.answer("", tokens, listed, [system]) for reply in found]
    errors = [reply.error for reply in replies if reply.error]
    yield {
        "questions": questions,
        "answered": sum(reply.logprobs is not None for reply in replies),
        "errors": errors,
        "tokens_before": before,
        "tokens_after": answerer.batch_tokens,
    }


class _LLM:
    """As much of a ``SpeechLLM`` as stage 3 needs to ask a model of random weights, which has no tokenizer."""

    name, frame_rate, first_layer = "random", 25.0, None

    def __init__(self, asked: Requests, most: int | None):
        self._asked, self._most = asked, most
        self.device, self.window = asked.device, asked.window
        self.max_positions = asked.model.config.text_config.max_position_embeddings

    def prompt(self, _question: str, _choices: Sequence[str]) -> Prompt:
        half = TEXT_TOKENS // 2
        return Prompt((0,) * half, (0,) * (TEXT_TOKENS - half))

    def choice_logprobs(self, audio: Sequence[Tensor], _prompts: Sequence[Prompt], counts: Sequence[int]) -> Tensor:
        if self._most is not None and len(audio) > self._most:
            raise torch.OutOfMemoryError(f"{len(audio)} rows")
        logits = self._asked.read(torch.stack(list(audio)))
        return logits.float().log_softmax(-1)[:, 0, : max(counts)]


@contextmanager
def _memory_for(model: Qwen2AudioForConditionalGeneration, rows: int, seconds: float) -> Iterator[None]:
    """On a GPU, this process gets no more memory than ``rows`` recordings of Original's length take."""
    if model.device.type != "cuda":
        yield
        return
    asked = Requests(model, rows, seconds)
    peak = asked.peak(asked.original) or 0
    del asked
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(model.device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, peak / total), model.device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, model.device)


def format_halving(rows: Sequence[dict]) -> str:
    return "\n\n".join(
        f"{row['questions']} questions of Original's length in one batch, and memory for {ROWS} of them: stage 3 went "
        f"from batches of {row['tokens_before']:,} tokens to batches of {row['tokens_after']:,}; {row['answered']} "
        f"were answered, {len(row['errors'])} became errors."
        for row in rows
    )
