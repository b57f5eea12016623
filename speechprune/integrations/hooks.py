"""What ``pruned`` hangs on a stock model: a hook before its forward, and one on each side of its text decoder.

Between the two of the decoder, rows are shorter: tokens that the pruner drops are taken out of its input, and what it
makes of the others is put back where they stood. The rest of the model, and its caller, see the widths they know.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, PreTrainedModel
from transformers.utils import ModelOutput

from speechprune.integrations.cut_off import Cuts
from speechprune.integrations.selecting import Batch, Chooser
from speechprune.models.audio_token import AudioTokenLLM

_FEATURES = ("input_features", "audio_input_features")  # what stock forwards call those of audio


@dataclass(frozen=True)
class Call:
    """What a forward of the whole model was given.

    Attributes:
        ids: (B, W) int64.
        mask: (B, all that was read so far) attention mask, or None.
        sounds: whether it holds audio, by features and tokens.
    """

    ids: Tensor
    mask: Tensor | None
    sounds: bool

    @property
    def read(self) -> Tensor:
        """(B, W) bool: no padding."""
        if self.mask is None:
            return torch.ones_like(self.ids, dtype=torch.bool)
        return self.mask[:, -self.ids.shape[1] :].bool()


@dataclass
class Shortened:
    """A batch that the decoder reads shortened.

    Attributes:
        width: W, as the caller knows it.
        places: (B, K) int64, where in W the tokens stand that are left; W on padding, which is on the left. On the CPU.
        mask: (B, K) bool, no padding. On the CPU.
    """

    width: int
    places: Tensor
    mask: Tensor

    @classmethod
    def of(cls, kept: Tensor) -> Shortened:
        """Leaves what is true in ``kept`` (B, W)."""
        rows = [torch.nonzero(row)[:, 0] for row in kept]
        width = kept.shape[1]
        places = pad_sequence(rows, batch_first=True, padding_value=width, padding_side="left")
        return cls(width, places, places < width)

    def take(self, wide: Tensor) -> Tensor:
        """(B, K, ..) of (B, W, ..)."""
        places = self.places.clamp_max(self.width - 1).to(wide.device)
        return wide[torch.arange(len(places), device=wide.device)[:, None], places]

    def put_back(self, states: Tensor) -> Tensor:
        """(B, W, D) of (B, K, D), zeros where nothing was read."""
        rows = torch.arange(len(states), device=states.device)[:, None]
        wide = states.new_zeros(len(states), self.width + 1, *states.shape[2:])  # the last: what is on padding
        return wide.index_put((rows, self.places.to(states.device)), states)[:, :-1]


@dataclass(eq=False)
class Hooks:
    """The three hooks, and what they hold between calls.

    Attributes:
        llm: the adapter of the model.
        chooser: which audio tokens are kept.
        cuts: warns of recordings that are not whole.
        told: what the last forward tells of them; see ``AudioTokenLLM.overhearing``.
        generating: whether ``generate`` runs.
    """

    llm: AudioTokenLLM
    chooser: Chooser
    cuts: Cuts
    told: Callable[[], dict[str, Tensor]]
    generating: bool = False
    _ongoing: Cache | None = None  # of the ``generate`` that runs
    _call: Call | None = None
    _now: Shortened | Tensor | None = None  # of the forward that runs: a prefill, or the mask of what follows one
    _masks: WeakKeyDictionary[Cache, Tensor] = field(default_factory=WeakKeyDictionary)
    _choosing: bool = False

    def hang(self, model: PreTrainedModel) -> list[Any]:
        """Handles that take the hooks off again."""
        return [
            model.register_forward_pre_hook(self._note, with_kwargs=True),
            self.llm.decoder.register_forward_pre_hook(self._enter, with_kwargs=True),
            self.llm.decoder.register_forward_hook(self._leave, with_kwargs=True),
        ]

    def _note(self, model: PreTrainedModel, args: tuple, kwargs: dict) -> None:
        given = inspect.signature(model.forward).bind_partial(*args, **kwargs).arguments
        self._call, ids = None, given.get("input_ids")
        if ids is None:
            raise ValueError("a model inside pruned() needs input_ids, which say where the audio tokens stand")
        mask = given.get("attention_mask")
        if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
            raise ValueError("a model inside pruned() takes attention masks of shape (rows, tokens) alone")
        features = any(given.get(name) is not None for name in _FEATURES)
        self._call = Call(ids, mask, features and bool((ids == self.llm.audio_id).any()))

    def _enter(self, _decoder: PreTrainedModel, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        call, cache = self._call, kwargs.get("past_key_values")
        if call is None or self._choosing:
            return None
        self._now, kwargs = None, dict(kwargs)
        if cache is None and self.generating and not call.sounds:
            # Phi-4-multimodal's ``generate`` drops a cache that is shorter than its ids say
            cache = kwargs["past_key_values"] = self._ongoing
        behind = 0 if cache is None else cache.get_seq_length()
        if call.sounds and behind:
            raise ValueError("pruned() prunes audio at the beginning alone; here is some behind a filled cache")
        if call.sounds:
            self._shorten(call, kwargs)
        elif behind and cache in self._masks:
            self._follow(call, self._masks[cache][:, :behind], kwargs)
        else:
            return None
        return args, kwargs

    def _shorten(self, call: Call, kwargs: dict) -> None:
        """Take what the pruner drops out of the decoder's arguments."""
        ids, read = call.ids.cpu(), call.read.cpu()
        audio = (ids == self.llm.audio_id) & read
        embeds = self.llm.entering(kwargs)
        if embeds.shape[:2] != call.ids.shape:
            raise ValueError(
                f"the ids hold {call.ids.shape[1]} tokens a row, the decoder is given {embeds.shape[1]}; make them "
                "with the processor, which puts in a placeholder for each audio token"
            )
        told = {name: values.cpu() for name, values in self.told().items()}
        padding = told.pop("padding", torch.zeros(int(audio.sum()), dtype=torch.bool))
        batch = Batch(ids, read, audio.masked_scatter(audio, ~padding), embeds)
        self.cuts.look(batch.heard)
        self._choosing = True  # it may read with the decoder
        try:
            kept, embeds = self.chooser.choose(batch, {name: values[~padding] for name, values in told.items()})
        finally:
            self._choosing = False
        self._now = short = Shortened.of(kept)
        wide = {name: value for name, value in kwargs.items() if _is_wide(value, call.ids.shape)}
        kwargs |= {name: short.take(value) for name, value in wide.items()}
        kwargs |= {"inputs_embeds": short.take(embeds)}
        kwargs.pop("logits_to_keep", None)  # whoever reads them again expects all, as they will be put back
        _place(kwargs, short.mask, short.mask.shape[1], embeds.device)

    def _follow(self, call: Call, before: Tensor, kwargs: dict) -> None:
        """Text behind a shortened prefill, of which the cache holds what ``before`` (B, K) says."""
        self._now = mask = torch.cat([before, call.read.to(before.device)], dim=1)
        _place(kwargs, mask, call.ids.shape[1], call.ids.device)

    def _leave(self, _decoder: PreTrainedModel, _args: tuple, _kwargs: dict, output: ModelOutput) -> None:
        if self._choosing:
            return
        now, self._now, self._call = self._now, None, None
        if isinstance(now, Shortened):
            states = output.last_hidden_state
            output.last_hidden_state, now = now.put_back(states), now.mask.to(states.device)
        if now is not None and output.past_key_values is not None:
            self._masks[output.past_key_values] = now
            self._ongoing = output.past_key_values if self.generating else None


def _is_wide(value: Any, shape: Sequence[int]) -> bool:
    """A tensor with an entry for each token."""
    return isinstance(value, Tensor) and value.shape[:2] == shape


def _place(kwargs: dict, mask: Tensor, width: int, device: torch.device) -> None:
    """Set mask and positions of the last ``width`` tokens of a batch of which ``mask`` is all that was read so far."""
    positions = (mask.cumsum(1) - 1).clamp_min(0)[:, -width:]
    kwargs |= {"attention_mask": mask.long().to(device), "position_ids": positions.to(device)}
    kwargs.pop("cache_position", None)  # of older releases: the decoder counts for itself
