"""``pruned``: a stock model of transformers whose decoder reads pruned audio, as long as a ``with`` block lasts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from transformers import PreTrainedModel, ProcessorMixin

from speechprune.common.defaults import PRUNER, SEED
from speechprune.integrations.cut_off import Cuts
from speechprune.integrations.hooks import Hooks
from speechprune.integrations.selecting import Chooser, budget
from speechprune.models.audio_token import AudioTokenLLM
from speechprune.models.base import SpeechLLM
from speechprune.pruners import Pruner, get_pruner

# Settings of ``generate`` under which the decoder's rows would not be those that the hooks know: {name: (what it may
# be, what it is called)}.
_PLAIN: dict[str, tuple[tuple, str]] = {
    "num_beams": ((None, 1), "beam search"),
    "num_return_sequences": ((None, 1), "several replies to one prompt"),
    "assistant_model": ((None,), "assisted decoding"),
    "prompt_lookup_num_tokens": ((None,), "prompt lookup decoding"),
    "assistant_early_exit": ((None,), "assisted decoding"),
    "custom_generate": ((None,), "a decoding of your own"),
    "cache_implementation": ((None, "dynamic"), "a cache of a fixed size"),
    "past_key_values": ((None,), "a cache of earlier turns"),
    "inputs_embeds": ((None,), "embeddings instead of ids"),
}
_UNTOLD = ("first_layer", "first_pass")  # what a pruner may need and the model itself gives


@contextmanager
def pruned(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    pruner: str | Pruner = PRUNER,
    *,
    rate: float | None = None,
    keep: int | None = None,
    query: str | Sequence[str] | None = None,
    seed: int = SEED,
) -> Iterator[Chooser]:
    """Let a stock audio LLM of transformers read pruned audio: in ``model.generate`` and ``model(..)`` of the block.

    >>> with speechprune.pruned(model, processor, SpeechPrune(), rate=0.4, query="Who speaks?"):  # doctest: +SKIP
    ...     ids = model.generate(**inputs)

    Ids, logits and masks keep the widths that the caller knows: ``generate`` gives the prompt's ids as they were and
    the reply behind them; logits at dropped tokens are those of an empty state. Hidden states and attentions, where
    asked for, are those of the tokens that were read. Positions are counted anew over what is left. A row's audio is
    pruned as one recording, however many recordings it holds. Rows without audio, and calls without, are as ever.

    Args:
        model: of a family in docs/models.md, wherever its layers are; not compiled. Its weights are not copied.
        processor: the model's.
        pruner: a name ("speechprune", "rap", ..) or a ``Pruner``.
        rate: share of the model's ordinary input (the audio tokens of one encoder window) to remove, in [0, 1).
        keep: audio tokens to keep of each row, instead of ``rate``.
        query: the text to compare the audio with: one for all rows, or one a row.
        seed: of pruners that draw at random.
    Yields:
        what was done: ``kept``, the indices (k,) of the tokens that were read of each row of the last prefill,
        ``spans``, where they are in seconds, and ``query``, which may be set anew for the next call.
    Raises:
        ValueError: a model that cannot be pruned or is being pruned already; a pruner that needs what a stock forward
            does not tell; no query where one is needed; inside the block, what cannot work: beam search and the other
            ways of ``generate`` that change the batch, static caches, embeddings instead of ids.
    Warns:
        CutWarning: the processor cut a recording, or may have done so; it names the seconds. It knows the recording's
            length where the processor is called inside the block.
    """
    llm = SpeechLLM.around(model, processor)
    if not isinstance(llm, AudioTokenLLM):
        raise ValueError(f"{llm.name}: audio has no tokens of its own in its prompt")
    chosen = get_pruner(pruner) if isinstance(pruner, str) else pruner
    tokens = budget(llm, rate, keep)
    if query is None and chosen.uses_query and "first_pass" not in chosen.needs:
        raise ValueError(f"{chosen.name} compares the audio with a text; give query=, one text or one for each row")
    if untold := [need for need in chosen.needs if need not in (*_UNTOLD, *llm.signals)]:
        raise ValueError(f"{chosen.name} needs {untold[0]}, which the forward of {type(model).__name__} does not tell")
    if isinstance(vars(model).get("generate"), _Guarded):
        raise ValueError("the model is inside another pruned() block; leave that first")
    chooser, cuts = Chooser(llm, chosen, tokens, query, seed), Cuts(llm)
    with ExitStack() as stack:
        told = stack.enter_context(llm.overhearing(chosen.needs))
        hooks = Hooks(llm, chooser, cuts, told)
        for handle in hooks.hang(model):
            stack.callback(handle.remove)
        stack.enter_context(cuts.watching())
        stack.enter_context(_guarded(model, hooks))
        yield chooser


class _Guarded:
    """A model's ``generate`` that refuses what cannot work."""

    def __init__(self, model: PreTrainedModel, hooks: Hooks):
        self._model, self._generate, self._hooks = model, model.generate, hooks
        functools.update_wrapper(self, self._generate)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        configured = [kwargs.get("generation_config"), self._model.generation_config]
        for name, (plain, called) in _PLAIN.items():
            found = [kwargs.get(name), *(getattr(config, name, None) for config in configured)]
            value = next((one for one in found if one is not None), None)
            if value not in plain:
                shown = f"{name}={value!r}" if isinstance(value, int | str) else name
                raise ValueError(f"pruned() cannot work with {called} ({shown}); leave it out")
        self._hooks.generating = True
        try:
            return self._generate(*args, **kwargs)
        finally:
            self._hooks.generating = False


@contextmanager
def _guarded(model: PreTrainedModel, hooks: Hooks) -> Iterator[None]:
    """``model.generate`` is guarded; what stood on the instance, if anything, is back afterwards."""
    before: dict[str, Callable] = {name: value for name, value in vars(model).items() if name == "generate"}
    model.generate = _Guarded(model, hooks)
    try:
        yield
    finally:
        del model.generate
        vars(model).update(before)
