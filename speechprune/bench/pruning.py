"""What SpeechPrune itself costs beside the prefill that it shortens, at the sizes of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedConfig
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer, Qwen2RotaryEmbedding

from speechprune.bench.selection import LENGTHS, format_selection, measure_selection
from speechprune.bench.sizes import QUERY_TOKENS, SECONDS
from speechprune.bench.timing import milliseconds, side_by_side
from speechprune.common.defaults import TEXT_TOKENS
from speechprune.common.markdown import aligned_table
from speechprune.costs.audio_encoder import encoder_cost
from speechprune.costs.count import recording, true_costs
from speechprune.costs.profiling import RATES
from speechprune.pruners import FirstLayer, Phase1, PruneInputs, SpeechPrune

ABOUT = (
    "SpeechPrune's own cost beside the unpruned prefill at the sizes of Qwen2-Audio-7B, random weights. The prefill is "
    "one decoder layer of the true sizes, its time multiplied by the number of layers, and lm_head at the last "
    "position; embeddings and the last norm are left out, which makes the prefill look cheaper. Pruning starts from "
    "the recording's audio tokens: phase 1 leaves a window of them, phase 2 the budget. The signs of the weights are "
    "made once for a model and not timed. FLOP: the prefill's by formula (docs/costs.md), pruning's counted by "
    "`torch.utils.flop_counter` while it runs."
)


def measure_pruning(
    config: PreTrainedConfig,
    device: torch.device,
    dtype: torch.dtype,
    repeats: int = 7,
    seconds: float = SECONDS,
    lengths: Sequence[int] = LENGTHS,
) -> dict:
    """Time and count pruning and prefill, batch 1.

    Args:
        config: a Qwen2-Audio configuration.
        device, dtype: of the decoder; pruners get float32 on the device, as from every adapter.
        repeats: timed rounds, at least 2.
        seconds: of the recording.
        lengths: audio tokens that every pruner is timed at.
    Returns:
        {device, dtype, layers, recording_tokens, window, tokens, prefill, rows, selection}: ``tokens`` are the
        prefill's, audio and text; ``prefill`` is {flop, time, layer, lm_head}, a row {name, flop, flop_share, time,
        time_share}, ``selection`` what ``measure_selection`` returns. Times are ``Times`` as dicts; a share is that of
        the prefill's FLOP, or of its median time.
    """
    text, window = config.text_config, encoder_cost(config).tokens
    _, available = recording(encoder_cost(config), 0, seconds)
    budgets = [max(1, round(window * (1 - rate))) for rate in RATES]
    layer, head = _layer(text, device, dtype), _head(text, device, dtype)
    inputs = _inputs(layer, text, available, window, device)
    prunings = {
        "phase 1": lambda: Phase1().select(inputs, window),
        "SpeechPrune, one rate": lambda: SpeechPrune().select(inputs, budgets[0]),
        "SpeechPrune, four rates": lambda: SpeechPrune().select_each(inputs, budgets),
    }
    runs = {
        "layer": _decoder_layer(layer, text, window + TEXT_TOKENS, device, dtype),
        "lm_head": lambda: head(torch.ones(1, text.hidden_size, device=device, dtype=dtype)),
        **prunings,
    }
    with torch.inference_mode():
        times = side_by_side(runs, device, repeats)
    whole = true_costs(config, window, TEXT_TOKENS, seconds).prefill_flop
    prefill = times["layer"].scaled(text.num_hidden_layers) + times["lm_head"]
    rows = []
    for name, run in prunings.items():
        flop = _flop(run)
        share = times[name].median_seconds / prefill.median_seconds
        rows.append(
            {"name": name, "flop": flop, "flop_share": flop / whole, "time": times[name].as_dict(), "time_share": share}
        )
    return {
        "device": device.type,
        "dtype": str(dtype).removeprefix("torch."),
        "layers": text.num_hidden_layers,
        "recording_tokens": available,
        "window": window,
        "tokens": window + TEXT_TOKENS,
        "prefill": {
            "flop": whole,
            "time": prefill.as_dict(),
            "layer": times["layer"].as_dict(),
            "lm_head": times["lm_head"].as_dict(),
        },
        "rows": rows,
        "selection": measure_selection(device, repeats, lengths, text.hidden_size, text.num_attention_heads),
    }


def _layer(text: PreTrainedConfig, device: torch.device, dtype: torch.dtype) -> Qwen2DecoderLayer:
    text._attn_implementation = "sdpa"
    with torch.device("meta"):
        layer = Qwen2DecoderLayer(text, 0)
    layer = layer.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    generator = torch.Generator(device).manual_seed(0)
    for weight in layer.parameters():
        weight.normal_(0, 0.02, generator=generator)
    return layer


def _head(text: PreTrainedConfig, device: torch.device, dtype: torch.dtype) -> nn.Linear:
    head = nn.Linear(text.hidden_size, text.vocab_size, bias=False, device="meta", dtype=dtype).to_empty(device=device)
    nn.init.constant_(head.weight, 0.01)
    return head.requires_grad_(False)


def _decoder_layer(
    layer: Qwen2DecoderLayer, text: PreTrainedConfig, tokens: int, device: torch.device, dtype: torch.dtype
) -> Callable[[], object]:
    states = torch.randn(1, tokens, text.hidden_size, device=device).to(dtype)
    places = torch.arange(tokens, device=device)[None]
    around = Qwen2RotaryEmbedding(text).to(device)(states, places)
    return lambda: layer(states, position_embeddings=around, position_ids=places)


def _inputs(
    layer: Qwen2DecoderLayer, text: PreTrainedConfig, available: int, window: int, device: torch.device
) -> PruneInputs:
    generator = torch.Generator().manual_seed(0)
    S, T = (torch.randn(n, text.hidden_size, generator=generator).to(device) for n in (available, QUERY_TOKENS))
    q, k = (projection.weight.float() for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj))
    first = FirstLayer(q, k, text.num_attention_heads, text.num_key_value_heads)
    return PruneInputs.single(S, T, window=window, first_layer=first)


def _flop(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def format_pruning(result: dict) -> str:
    prefill = result["prefill"]
    whole = {"name": "unpruned prefill", "flop_share": 1, "time_share": 1, **prefill}
    rows = []
    for row in (whole, *result["rows"]):
        shares = [f"{100 * row[key]:.2g}" if row is not whole else "100" for key in ("flop_share", "time_share")]
        rows.append([row["name"], f"{row['flop'] / 1e9:.3f}", shares[0], *milliseconds(row["time"]), shares[1]])
    about = (
        f"On the {result['device'].upper()} in {result['dtype']}, batch 1: {result['recording_tokens']} audio tokens, "
        f"{result['window']} after phase 1, L = {result['tokens']} unpruned; {prefill['layer']['repeats']} rounds. "
        f"One layer takes {milliseconds(prefill['layer'])[0]} ms, lm_head {milliseconds(prefill['lm_head'])[0]} ms."
    )
    head = ["", "GFLOP", "% of prefill's", "median ms", "quartiles ms", "% of prefill's"]
    parts = [ABOUT, about, aligned_table(head, rows), "### Every pruner", format_selection(result["selection"])]
    return "\n\n".join(parts)
