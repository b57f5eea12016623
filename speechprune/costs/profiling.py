"""The body of ``speechprune profile``: Table I's cost columns, the true counts, and a prefill timed on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import PreTrainedConfig

from speechprune.common.defaults import TEXT_TOKENS
from speechprune.common.markdown import aligned_table
from speechprune.costs.audio_encoder import encoder_cost
from speechprune.costs.count import count_parameters, recording, true_costs
from speechprune.costs.llm import CONVENTIONS, decoder_shape, speech_config, table1_costs
from speechprune.models.base import Prompt, SpeechLLM
from speechprune.models.folder import ModelFolder

RATES = (0.2, 0.4, 0.6, 0.8)  # Table I's
WARM_UP = 2  # runs that are not timed
UNITS = {"tf": "TFLOP", "tm": "GB", "sa": "GB"}
TRUE = {
    "decoder_flop": "decoder",
    "attention_flop": "attention",
    "lm_head_flop": "lm_head",
    "encoder_flop": "encoder",
    "projector_flop": "projector",
    "phase1_flop": "phase 1",
    "phase2_flop": "phase 2",
    "total_flop": "total",
    "kv_cache_bytes": "KV cache",
}


@dataclass(frozen=True)
class Measured:
    """Prefills of one row on this machine.

    Attributes:
        median_seconds: of ``repeats`` runs; low_seconds, high_seconds: first and third quartile.
        peak_bytes: on a GPU what torch had allocated at most, weights included; on the CPU the process's largest
            resident memory, libraries included, None where the system does not tell.
        device, dtype: where and in which precision.
    """

    median_seconds: float
    low_seconds: float
    high_seconds: float
    repeats: int
    peak_bytes: int | None
    device: str
    dtype: str


def measure_prefill(model: SpeechLLM, audio_tokens: int, text_tokens: int, repeats: int = 9) -> Measured:
    """Time the decoder's prefill, lm_head at the last position alone; neither encoder nor pruner are in it.

    Args:
        model: loaded; it reads ``audio_tokens`` copies of one embedding, since values do not change the work.
        audio_tokens, text_tokens: at least 1 each.
        repeats: timed runs, at least 2, after ``WARM_UP`` others.
    Raises:
        ValueError: an argument out of its range, or more tokens than ``model.max_positions``.
    """
    if audio_tokens < 1 or text_tokens < 1 or repeats < 2:
        raise ValueError(
            f"audio_tokens={audio_tokens}, text_tokens={text_tokens}, repeats={repeats}; expected at least 1, 1 and 2"
        )
    asked = model.prompt("?", ["A", "B"])
    ids = ((asked.before + asked.after) * text_tokens)[:text_tokens]
    prompt = Prompt(ids[: text_tokens // 2], ids[text_tokens // 2 :])
    audio = model.embed_text("a")[:1].expand(audio_tokens, -1)
    device = torch.get_device_module(model.device)

    def run() -> float:
        device.synchronize()
        start = time.perf_counter()
        model.choice_logprobs([audio], [prompt], 2)
        device.synchronize()
        return time.perf_counter() - start

    peak = _watch_memory(model.device)
    for _ in range(WARM_UP):
        run()
    seconds = [run() for _ in range(repeats)]
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    place = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else str(model.device)
    return Measured(median, low, high, repeats, peak(), place, str(model.dtype).removeprefix("torch."))


def _watch_memory(device: torch.device) -> Callable[[], int | None]:
    """Forget the largest use so far; the result tells the largest since."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return lambda: torch.cuda.max_memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: resets VmHWM
    except OSError:
        return lambda: None
    status = Path("/proc/self/status")
    return lambda: next(1024 * int(line.split()[1]) for line in status.open() if line.startswith("VmHWM:"))


def profile(
    model: str | Path,
    audio_tokens: int | None = None,
    text_tokens: int = TEXT_TOKENS,
    seconds: float | None = None,
    load: Callable[[], SpeechLLM] | None = None,
) -> dict:
    """What ``speechprune profile`` prints.

    Args:
        model: "mini", a folder (config.json is enough), or a hub name.
        audio_tokens: what the decoder reads; None for Table I's rows, Original (one window) and ``RATES`` of it.
        text_tokens: of the prompt with question and choices; by default the paper's.
        seconds: the recording's length; by default as many full windows as ``audio_tokens`` need.
        load: gives the model with its weights, to time the prefill with; by default nothing is timed.
    Returns:
        {model, model_type, conventions, text_tokens, tf, tm, sa, shape, rows}; tf (TFLOP), tm and sa (decimal GB) are
        the first row's. A row is {rate, audio_tokens, tf, tm, sa, true, measured}: ``true`` the fields of
        ``TrueCosts``, ``measured`` those of ``Measured`` or None.
    Raises:
        FileNotFoundError, ValueError: no such model, or one that cannot be counted; the message says why.
    """
    folder = ModelFolder.open(model, weights=False)
    config = speech_config(folder.auto_config())
    shape = decoder_shape(config)
    with folder.reading("the sizes in config.json"):
        parameters = count_parameters(config)  # first, since it refuses a decoder that cannot be counted
    systems = _systems(config, audio_tokens, seconds)
    counts = [true_costs(config, tokens, text_tokens, length, parameters) for _, tokens, length in systems]
    loaded = load() if load else None  # after all that can be refused has been
    rows = []
    for (rate, tokens, _), true in zip(systems, counts, strict=True):
        timed = measure_prefill(loaded, tokens, text_tokens) if loaded else None
        rows.append(
            {
                "rate": rate,
                "audio_tokens": tokens,
                **asdict(table1_costs(shape, tokens + text_tokens)),
                "true": asdict(true),
                "measured": asdict(timed) if timed else None,
            }
        )
    return {
        "model": str(model),
        "model_type": config.model_type,
        "conventions": CONVENTIONS,
        "text_tokens": text_tokens,
        **{column: rows[0][column] for column in CONVENTIONS},
        "shape": asdict(shape),
        "rows": rows,
    }


def _systems(
    config: PreTrainedConfig, audio_tokens: int | None, seconds: float | None
) -> list[tuple[float | None, int, float | None]]:
    """(rate, audio tokens, seconds of audio that are encoded) of every row."""
    if audio_tokens is not None:
        return [(None, audio_tokens, seconds)]
    try:
        window = encoder_cost(config)
    except ValueError as error:
        raise ValueError(f"{error}; its window is unknown, too, so say how many tokens: --audio-tokens") from error
    whole = window.seconds if seconds is None else seconds
    _, available = recording(window, 0, whole)
    original = min(available, window.tokens)
    kept = [(rate, min(available, max(1, round(window.tokens * (1 - rate)))), whole) for rate in RATES]
    return [(None, original, min(whole, window.seconds)), *kept]


def format_profile(result: dict) -> str:
    """Two or three Markdown tables of what ``profile`` returned."""
    rows = result["rows"]
    labels = [[_label(row), str(row["audio_tokens"])] for row in rows]
    columns = [f"{name.upper()} ({unit}, {CONVENTIONS[name]})" for name, unit in UNITS.items()]
    paper = [label + [f"{row[name]:#.4g}" for name in UNITS] for label, row in zip(labels, rows, strict=True)]
    true = [label + [_amount(row["true"][name]) for name in TRUE] for label, row in zip(labels, rows, strict=True)]
    first = rows[0]["true"]
    parts = [
        f"{result['model']} ({result['model_type']}): {_amount(first['parameters'])} parameters, "
        f"{_amount(first['weights_bytes'])}B in fp16; {result['text_tokens']} text tokens",
        "As Table I counts:",
        aligned_table(["PR", "tokens", *columns], paper),
        "True counts, in FLOP, and the KV cache in bytes (fp16):",
        aligned_table(["PR", "tokens", *TRUE.values()], true),
    ]
    if first["not_counted"]:
        parts.append(f"The total lacks encoder, projector and pruner: {first['not_counted']}")
    if rows[0]["measured"]:
        parts += [_measured_title(rows[0]["measured"]), aligned_table(*_measured_table(labels, rows))]
    return "\n\n".join(parts)


def _label(row: dict) -> str:
    return "-" if row["rate"] is None else f"{row['rate']:g}"


def _measured_title(measured: dict) -> str:
    return (
        f"Measured prefill on {measured['device']} ({measured['dtype']}), median and quartiles of "
        f"{measured['repeats']} runs after {WARM_UP} others:"
    )


def _measured_table(labels: list[list[str]], rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    body = []
    for label, row in zip(labels, rows, strict=True):
        times = [f"{1000 * row['measured'][name]:#.4g}" for name in ("median_seconds", "low_seconds", "high_seconds")]
        body.append([*label, times[0], f"{times[1]} to {times[2]}", _amount(row["measured"]["peak_bytes"])])
    return ["PR", "tokens", "median ms", "quartiles ms", "peak bytes"], body


def _amount(value: int | None) -> str:
    """Four digits and a decimal prefix: 12195302735872 -> "12.20 T"."""
    if value is None:
        return "-"
    power = min(5, (len(str(value)) - 1) // 3)
    return f"{value / 1000**power:#.4g}".rstrip(".") + " " + " kMGTP"[power] if power else str(value)
