"""What the prefill of each system costs, from the model's configuration alone: Table I's columns and the true FLOP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from speechprune.common.defaults import TEXT_TOKENS
from speechprune.costs.count import true_costs
from speechprune.costs.llm import decoder_shape, speech_config, table1_costs
from speechprune.models.folder import ModelFolder


def system_costs(model: str | Path, systems: Sequence[dict]) -> list[dict]:
    """One entry per system that read audio tokens, counted at their mean number and ``TEXT_TOKENS`` text tokens.

    Args:
        model: "mini", a folder (config.json is enough), or a hub name.
        systems: score.json's; system, rate and tokens are read.
    Returns:
        {system, rate, audio_tokens, text_tokens, tf, tm, sa, prefill_flop}: TFLOP and decimal GB as Table I counts them
        (``docs/costs.md``), then the true FLOP: attention included, lm_head on the last position only.
    Raises:
        FileNotFoundError, ValueError: no such model, or one that cannot be counted.
    """
    config = speech_config(ModelFolder.open(model, weights=False).auto_config())
    shape = decoder_shape(config)
    counted: dict[int, dict] = {}
    found = []
    for system in systems:
        if system["tokens"] is None:
            continue
        tokens = round(system["tokens"])
        if tokens not in counted:
            # The number of parameters says nothing about FLOP, and counting them takes longest.
            flop = true_costs(config, tokens, TEXT_TOKENS, parameters=1).prefill_flop
            counted[tokens] = asdict(table1_costs(shape, tokens + TEXT_TOKENS)) | {"prefill_flop": flop}
        name = {"system": system["system"], "rate": system["rate"]}
        found.append(name | {"audio_tokens": tokens, "text_tokens": TEXT_TOKENS} | counted[tokens])
    return found
