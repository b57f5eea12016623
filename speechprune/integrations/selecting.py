"""Which audio tokens of a stock model's batch are kept: what the pruner is given, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechprune.asking import spans
from speechprune.common.defaults import RATE
from speechprune.models.audio_token import AudioTokenLLM
from speechprune.models.base import Prompt, SpeechLLM
from speechprune.pruners import PAD, FirstPass, PruneInputs, Pruner


def budget(llm: SpeechLLM, rate: float | None, keep: int | None) -> int:
    """Tokens to keep: as many as are said, or as ``rate`` leaves of one window. ValueError for both, or none at all."""
    if rate is not None and keep is not None:
        raise ValueError(f"rate={rate} and keep={keep}; give one of them")
    if keep is not None and (type(keep) is not int or keep < 1):
        raise ValueError(f"keep={keep!r}; keep a whole number of audio tokens, one or more")
    return llm.budget(RATE if rate is None else rate) if keep is None else keep


@dataclass(frozen=True, eq=False)
class Batch:
    """A stock model's batch at the door of its decoder. All but ``embeds`` is on the CPU.

    Attributes:
        ids: (B, W) int64.
        read: (B, W) bool, no padding.
        heard: (B, W) bool, audio tokens of samples.
        embeds: (B, W, D), the audio in its place.
    """

    ids: Tensor
    read: Tensor
    heard: Tensor
    embeds: Tensor

    @cached_property
    def rows(self) -> list[int]:
        """Those with audio."""
        return torch.nonzero(self.heard.any(1))[:, 0].tolist()

    @cached_property
    def places(self) -> list[Tensor]:
        """Of every row, where its audio tokens stand (n,)."""
        return [torch.nonzero(row)[:, 0] for row in self.heard]


@dataclass(eq=False)
class Chooser:
    """A pruner at work on batches of a stock model.

    Attributes:
        llm: the adapter of the model.
        pruner, keep: what is asked of it.
        query: the text to compare the audio with: one for all rows, or one a row; None for pruners without a query.
        seed: of pruners that draw at random.
        kept: of the last prefill, for each row its audio tokens' indices (k,) int64, on the CPU.
        totals: of the last prefill, how many audio tokens each row had.
    """

    llm: AudioTokenLLM
    pruner: Pruner
    keep: int
    query: str | Sequence[str] | None
    seed: int
    kept: list[Tensor] = field(default_factory=list)
    totals: list[int] = field(default_factory=list)

    @property
    def spans(self) -> list[list[tuple[float, float]]]:
        """(start, end) seconds of what was kept, for each row of the last prefill; neighbouring tokens are one span."""
        return [spans(kept, self.llm.frame_rate) for kept in self.kept]

    def choose(self, batch: Batch, told: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(B, W) bool, what the decoder is to read; and the embeddings with merged tokens in the place of the kept.

        ``told``: {signal: (N,)} of all heard tokens of the batch, row after row.
        """
        places = batch.places
        self.totals = [len(row) for row in places]
        with torch.inference_mode():
            inputs = self._inputs(batch, told)
            merged = self.pruner.merge_each(inputs, [self.keep])[0] if self.pruner.merges else None
            index = self.pruner.select(inputs, self.keep) if merged is None else merged.index
            tokens = None if merged is None else merged.tokens(inputs.S)
        self.kept = [torch.zeros(0, dtype=torch.long)] * len(places)
        left = batch.read & (batch.ids != self.llm.audio_id)
        embeds = batch.embeds if tokens is None else batch.embeds.clone()
        for number, row in enumerate(batch.rows):
            self.kept[row] = index[number][index[number] != PAD].cpu().clone()  # an ordinary tensor, out of inference
            where = places[row][self.kept[row]]
            left[row, where] = True
            if tokens is not None:
                embeds[row, where.to(embeds.device)] = tokens[number, : len(where)].clone().to(embeds)
        return left, embeds

    def _inputs(self, batch: Batch, told: Mapping[str, Tensor]) -> PruneInputs:
        device, rows = self.llm.device, batch.rows
        S = [batch.embeds[row, batch.places[row].to(batch.embeds.device)].to(device, torch.float32) for row in rows]
        T = self._queries(batch)
        signals = {
            name: [values.to(device).split(self.totals)[row] for row in rows]
            for name, values in told.items()
            if name in self.pruner.needs
        }
        return PruneInputs(
            S=pad_sequence(S, batch_first=True),
            lengths=torch.tensor([len(row) for row in S], device=device),
            T=pad_sequence(T, batch_first=True),
            query_lengths=torch.tensor([len(row) for row in T], device=device),
            frame_rate=self.llm.frame_rate,
            window=self.llm.window,
            first_layer=self.llm.first_layer if "first_layer" in self.pruner.needs else None,
            seeds=[self.seed] * len(rows),
            signals={name: pad_sequence(values, batch_first=True) for name, values in signals.items()},
            first_pass=self._first_pass(batch) if "first_pass" in self.pruner.needs else None,
        )

    def _queries(self, batch: Batch) -> list[Tensor]:
        """(L, D) of each row with audio."""
        if self.query is None or not self.pruner.uses_query:
            nothing = torch.zeros(0, batch.embeds.shape[2], device=self.llm.device)
            return [nothing] * len(batch.rows)
        count = len(batch.ids)
        queries = [self.query] * count if isinstance(self.query, str) else list(self.query)
        if len(queries) != count:
            raise ValueError(f"{len(queries)} queries for a batch of {count} rows; give one a row, or one text for all")
        embedded = {text: self.llm.embed_text(text) for text in {queries[row] for row in batch.rows}}
        return [embedded[queries[row]] for row in batch.rows]

    def _first_pass(self, batch: Batch) -> FirstPass:
        """Of the prompts around the audio, which must be one run in each row."""
        prompts = []
        for row in batch.rows:
            first, last = int(batch.places[row][0]), int(batch.places[row][-1])
            if last - first + 1 != len(batch.places[row]):
                raise ValueError(f"{self.pruner.name} reads one recording a row; row {row} has several")
            text = batch.read[row] & (batch.ids[row] != self.llm.audio_id)
            before, after = (batch.ids[row, part][text[part]] for part in (slice(first), slice(last + 1, None)))
            prompts.append(Prompt(tuple(before.tolist()), tuple(after.tolist())))
        return self.llm.first_pass(prompts)
