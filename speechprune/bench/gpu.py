"""What only a GPU can tell, in one command of under ten minutes, with torch and transformers alone: ``make gpu``.

    python3 -m speechprune.bench.gpu --page docs/performance.md --json docs/gpu.json

Every part has a limit of its own; what it had measured by then is kept, and the JSON is written after each part.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

from speechprune.bench.equality import differing
from speechprune.bench.pages import SKIPPED, put_section
from speechprune.bench.prefill import BATCHES, format_prefill, prefill_rows, random_model
from speechprune.bench.selection import HEADS, LENGTHS, WIDTH, format_selection, measure_selection
from speechprune.bench.serving import AT_ONCE, first_tokens, format_first_tokens, format_halving, halving
from speechprune.bench.sizes import SECONDS
from speechprune.bench.timing import Machine, limited
from speechprune.common.files import atomic_write
from speechprune.costs.published_configs import qwen2_audio_7b
from speechprune.models.loading import pick_device


@dataclass(frozen=True)
class Sizes:
    """What is measured: by default the paper's model and rows; ``TINY`` to see the way through, without a GPU.

    Attributes:
        config: of the model, whose weights are random.
        batches: of the prefill. at_once: questions at once. lengths, width: of the selection.
        repeats: timed rounds, at least 2. seconds: of a recording.
    """

    config: Callable[[], Qwen2AudioConfig] = qwen2_audio_7b
    batches: tuple[int, ...] = BATCHES
    at_once: tuple[int, ...] = AT_ONCE
    lengths: tuple[int, ...] = LENGTHS
    width: int = WIDTH
    heads: int = HEADS
    repeats: int = 5
    seconds: float = SECONDS


def _tiny() -> Qwen2AudioConfig:
    """A window is 0.4 s and 10 tokens."""
    audio = {"num_mel_bins": 8, "d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 20}
    text = {"vocab_size": 64, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2}
    return Qwen2AudioConfig(
        audio_config=audio | {"model_type": "qwen2_audio_encoder", "max_source_positions": 20},
        text_config=text | {"model_type": "qwen2", "num_attention_heads": 4, "num_key_value_heads": 2},
    )


TINY = Sizes(_tiny, (1, 2), (1, 3), (20, 30), 16, 2, repeats=2, seconds=1.2)


@dataclass(frozen=True)
class Part:
    """One of the measurements.

    Attributes:
        title: of its section. seconds: its limit.
        rows: what it measures, one after the other.
        text: Markdown of the rows.
    """

    title: str
    seconds: float
    rows: Callable[[Runner], Iterator[dict]]
    text: Callable[[list[dict]], str]


class Runner:
    """A device, and a model that is made once and for all parts."""

    def __init__(self, device: torch.device, sizes: Sizes):
        self.device, self.sizes = device, sizes

    @cached_property
    def model(self) -> Qwen2AudioForConditionalGeneration:
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        return random_model(self.sizes.config(), self.device, dtype)

    def equality(self) -> Iterator[dict]:
        return differing(self.device)

    def prefill(self) -> Iterator[dict]:
        sizes = self.sizes
        return prefill_rows(self.model, sizes.batches, sizes.repeats, sizes.seconds)

    def first_tokens(self) -> Iterator[dict]:
        sizes = self.sizes
        return first_tokens(self.model, sizes.at_once, sizes.repeats, sizes.seconds)

    def halving(self) -> Iterator[dict]:
        return halving(self.model, seconds=self.sizes.seconds)

    def selection(self) -> Iterator[dict]:
        self.__dict__.pop("model", None)  # an hour of audio tokens wants its room
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        sizes, until = self.sizes, time.monotonic() + 0.8 * PARTS["selection"].seconds
        yield measure_selection(self.device, sizes.repeats, sizes.lengths, sizes.width, sizes.heads, until)


def _format_equality(rows: list[dict]) -> str:
    wrong = [row for row in rows if row["differs"]]
    lines = [
        f"{len(rows)} pruners and settings on a batch of four recordings, at five budgets: {len(rows) - len(wrong)} "
        "choose on this device what they choose on the CPU."
    ]
    lines += [f"- {row['pruner']} {json.dumps(row['options'])}: {'; '.join(row['differs'])}" for row in wrong]
    return "\n".join(lines)


def _format_selections(rows: list[dict]) -> str:
    return "\n\n".join(map(format_selection, rows))


PARTS = {
    "equality": Part("The same choice as on the CPU", 60, Runner.equality, _format_equality),
    "prefill": Part("Prefill", 220, Runner.prefill, format_prefill),
    "first_tokens": Part("Time to the first token", 110, Runner.first_tokens, format_first_tokens),
    "halving": Part("When memory does not suffice", 40, Runner.halving, format_halving),
    "selection": Part("Selection alone", 110, Runner.selection, _format_selections),
}


def measure_gpu(device: torch.device, sizes: Sizes, keep: Callable[[dict], None] = lambda _result: None) -> dict:
    """All parts, one after the other.

    Args:
        device: what is measured.
        sizes: of what.
        keep: gets the result so far, after each part.
    Returns:
        {machine: the fields of ``Machine``, device, parts: {part: {rows, seconds, stopped}}}; ``stopped`` says why a
        part ended early, and is None where it did not.
    """
    runner = Runner(device, sizes)
    result: dict = {"machine": vars(Machine.here()), "device": device.type, "parts": {}}
    for name, part in PARTS.items():
        start, stopped = time.monotonic(), None
        rows: list[dict] = []
        try:
            with limited(part.seconds):
                for row in part.rows(runner):
                    rows.append(row)
        except Exception as error:  # the other parts say something, too
            stopped = f"{type(error).__name__}: {error}"[:300]
        result["parts"][name] = {"rows": rows, "seconds": round(time.monotonic() - start, 1), "stopped": stopped}
        keep(result)
    return result


def format_gpu(result: dict) -> str:
    """Markdown: the machine, and a section for each part; or why there is none."""
    if "skipped" in result:
        return result["skipped"]
    parts = [f"Machine: {Machine(**result['machine'])}."]
    for name, found in result["parts"].items():
        parts.append(f"### {PARTS[name].title}")
        if found["rows"]:
            parts.append(PARTS[name].text(found["rows"]))
        if found["stopped"]:
            parts.append(f"**Ended early: {found['stopped']}.**")
    return "\n\n".join(parts)


def main(words: list[str] | None = None) -> int:
    """The command. Exit status 1: a pruner chooses on the GPU what it does not choose on the CPU."""
    parser = argparse.ArgumentParser(prog="python3 -m speechprune.bench.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1, cpu")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes: to see that all of it runs")
    parser.add_argument("--page", type=Path, help="Markdown page whose section about GPUs is written anew")
    parser.add_argument("--json", type=Path, help="file for all that was measured")
    options = parser.parse_args(words)
    device = pick_device(options.device)
    if device.type != "cuda" and not options.tiny:
        print(SKIPPED)  # a page that has measurements of another machine's GPU keeps them
        return 0

    def keep(result: dict) -> None:
        if options.json:
            with atomic_write(options.json) as file:
                json.dump(result, file, indent=1)
        print(f"{list(result['parts'])[-1]}: done", file=sys.stderr)

    result = measure_gpu(device, TINY if options.tiny else Sizes(), keep)
    text = format_gpu(result)
    print(text)
    if options.page:
        put_section(options.page, text)
    return 1 if any(row["differs"] for row in result["parts"]["equality"]["rows"]) else 0


if __name__ == "__main__":
    sys.exit(main())
