"""Signals: a few floats per audio token that stage 2 stores beside the states, for pruners that name them.

``energy`` comes from the samples, whatever the model; others from models that can tell them (``SpeechLLM.signals``).
A dump of a time before signals stays valid: pruners that need one say that it is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from lhotse import MonoCut

from speechprune.common.tensors import join
from speechprune.features.dump import custom_fields, load_array, stored_array

if TYPE_CHECKING:
    from torch import Tensor

    from speechprune.models.base import SpeechLLM
    from speechprune.pruners import Pruner

SILENCE = -100.0  # dB: nothing is quieter
ENERGY = "energy"


class Listener:
    """Notes signals while a recording is encoded.

    Args:
        model: that encodes it.
    """

    def __init__(self, model: SpeechLLM):
        self._model = model
        self._energy: list[np.ndarray] = []
        self._told: dict[str, list[Tensor]] = {}

    def encode_parts(self, windows: Iterable[np.ndarray]) -> Iterator[Tensor]:
        """``SpeechLLM.encode_parts``."""
        heard = map(self._measured, windows)
        return self._model.encode_parts(heard, self._told) if self._model.signals else self._model.encode_parts(heard)

    def _measured(self, window: np.ndarray) -> np.ndarray:
        self._energy.append(energy(window, self._model.sampling_rate / self._model.frame_rate))
        return window

    def signals(self, N: int) -> dict[str, np.ndarray]:
        """{name: (N,) float32} of the recording's N tokens, once they are all there."""
        found = {ENERGY: np.concatenate(self._energy)}
        found |= {name: join(iter(parts)).float().cpu().numpy() for name, parts in self._told.items()}
        # The last window may count a token that the encoder does not have, or miss one.
        return {name: np.pad(values[:N], (0, max(0, N - len(values))), "edge") for name, values in found.items()}


def energy(samples: np.ndarray, hop: float) -> np.ndarray:
    """Mean square of the samples of each token, in dB of full scale, not below ``SILENCE``.

    Args:
        samples: (T,) float32, T >= 1; hop: samples per token.
    Returns:
        (max(1, round(T / hop)),) float32.
    """
    count = max(1, round(len(samples) / hop))
    starts = np.minimum((np.arange(count) * hop).round().astype(np.int64), len(samples) - 1)
    sums = np.add.reduceat(samples.astype(np.float64) ** 2, starts)
    sizes = np.diff([*starts, len(samples)]).clip(1)
    return (10 * np.log10(np.maximum(sums / sizes, 10 ** (SILENCE / 10)))).astype(np.float32)


def check_signals(pruner: Pruner, model: SpeechLLM) -> None:
    """ValueError where ``pruner`` needs a signal that neither the samples nor ``model`` give."""
    given = (ENERGY, *model.signals)
    for need in pruner.needs:
        if need not in ("first_layer", "first_pass", *given):
            raise ValueError(f"{pruner.name} needs {need}, which {model.name} does not give: only {', '.join(given)}")


def signal_table(signals: dict[str, np.ndarray]) -> tuple[list[str], np.ndarray]:
    """Names and (N, K) float32, as they are stored."""
    return list(signals), np.stack(list(signals.values()), axis=1)


def load_signals(cut: MonoCut) -> dict[str, Tensor]:
    """{name: (N,) float32} of a dump's cut; {} where it was made without signals.

    Raises:
        ValueError: the archive does not hold what was written. FileNotFoundError: it is gone.
    """
    custom = custom_fields(cut)
    if (stored := stored_array(custom, "signals")) is None:
        return {}
    table, names = torch.from_numpy(load_array(cut, "signals", stored)), custom.get("signal_names")
    if not isinstance(names, list) or tuple(table.shape) != (custom["audio_tokens"].shape[0], len(names)):
        raise ValueError(f"{cut.id}: signals of shape {tuple(table.shape)} do not belong to it; extract it again")
    return dict(zip(names, table.T, strict=True))
