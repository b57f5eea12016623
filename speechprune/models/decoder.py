"""What adapters over a transformers decoder share: prompting, embedding, prefill and greedy decoding."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from speechprune.models.base import Prompt
from speechprune.models.batching import shared_prefixes
from speechprune.models.reading_llm import ReadingLLM
from speechprune.prompts import letters as letters_of

_AUDIO_WORDS = ("audio", "sound", "speech", "boa", "eoa")  # in the names of the marks around audio
WINDOWS_PER_FORWARD = 8  # enough to fill a GPU with a large encoder; memory does not grow with the recording


class DecoderLLM(ReadingLLM):
    """The half of an adapter behind the projector: the model's text decoder reads audio tokens as ``inputs_embeds``.

    A family adds ``load``, ``_encode``, ``project`` and ``chat``, and sets ``sampling_rate``, ``frame_rate``,
    ``window_seconds`` and ``window``.
    """

    def encode_parts(
        self, windows: Iterable[np.ndarray], signals: dict[str, list[Tensor]] | None = None
    ) -> Iterator[Tensor]:
        checked = self.checked(windows)
        first, states = 0, 0
        while batch := list(islice(checked, WINDOWS_PER_FORWARD)):
            with torch.inference_mode():
                part, told = (self._encode(batch, first), {}) if signals is None else self._encode_telling(batch, first)
                part = part.to(self.device)
            if signals is not None:
                for name, values in told.items():
                    signals.setdefault(name, []).append(values)
            first, states = first + len(batch), states + len(part)
            if len(part):
                yield part
            del part  # the next one is made without it
        if not states:
            raise ValueError(
                f"the audio is shorter than one audio token ({1 / self.frame_rate:g} s at {self.sampling_rate} Hz); "
                "give a longer recording"
            )

    @abstractmethod
    def _encode(self, windows: list[np.ndarray], first: int) -> Tensor:
        """States (N, E) float32 of a few windows, of which the first is the ``first`` of its recording.

        Only the last window may be short.
        """

    def _encode_telling(self, windows: list[np.ndarray], first: int) -> tuple[Tensor, dict[str, Tensor]]:
        """``_encode``, and {signal: (N,) float32} of ``signals``."""
        return self._encode(windows, first), {}

    def checked(self, windows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The windows that hold samples. The feature extractor would cut longer ones, and pad gaps into the time."""
        size = round(self.window_seconds * self.sampling_rate)
        short = None
        for number, window in enumerate(windows):
            if short is not None:
                raise ValueError(f"window {short[0]} has {short[1]} samples, but only the last may have below {size}")
            if window.ndim != 1 or len(window) > size:
                raise ValueError(f"window {number} has shape {window.shape}; expected (T,) samples with T <= {size}")
            if not np.isfinite(window).all():
                raise ValueError(f"window {number} holds NaN or infinite samples; repair or drop the recording")
            if len(window) < size:
                short = number, len(window)
            if len(window):
                yield window

    @torch.inference_mode()
    def choice_logprobs(
        self,
        audio: Sequence[Tensor],
        prompts: Sequence[Prompt],
        letters: int | Sequence[int],
        positions: Sequence[Tensor] | None = None,
        total: Sequence[int] | None = None,
    ) -> Tensor:
        counts = [letters] * len(prompts) if isinstance(letters, int) else list(letters)
        if len(counts) != len(prompts):
            raise ValueError(f"{len(counts)} numbers of choices for {len(prompts)} prompts; give one a prompt, or one")
        ids = self._letter_ids(max(counts))
        rows = self._rows(audio, prompts, positions, total)
        states, _, _ = self._prefill(rows, shared_prefixes(audio, prompts, positions))
        logprobs = self._logits(states).float().log_softmax(-1)[:, ids]
        beyond = torch.arange(len(ids), device=self.device) >= torch.tensor(counts, device=self.device)[:, None]
        return logprobs.masked_fill(beyond, -torch.inf)

    def continuations(self, prompt: Prompt, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        space = self._space_behind(prompt.after)
        found = []
        for text in texts:
            ids = tuple(self._tokenizer(space + text, add_special_tokens=False)["input_ids"])
            if not ids:
                raise ValueError(f"{self.name}: the choice {text!r} is no token of this tokenizer")
            found.append(ids)
        return tuple(found)

    def with_text(self, prompt: Prompt, text: str) -> tuple[Prompt, int]:
        before, after = list(prompt.before), list(prompt.after)
        while before and self._marks_audio(before[-1]):
            before.pop()
        while after and self._marks_audio(after[0]):
            after.pop(0)
        next_one = self._tokenizer.decode(after[:1], skip_special_tokens=True)
        line_break = "\n" if next_one and not next_one[0].isspace() else ""  # what follows is another text
        words = f"{self._space_behind(before)}{text}{line_break}"
        ids = self._tokenizer(words, add_special_tokens=False)["input_ids"]
        return Prompt((*before, *ids), tuple(after)), len(ids)

    def _space_behind(self, ids: Sequence[int]) -> str:
        """Behind "Answer:" a word begins with its space; behind a line break or a mark that ends a turn it does not."""
        end = self._tokenizer.decode(list(ids[-1:]), skip_special_tokens=True)
        return " " if end and not end[-1].isspace() else ""

    def _marks_audio(self, token: int) -> bool:
        """Whether it is a special token that is named after audio: ``[BEGIN_AUDIO]``, ``<|audio_eos|>``."""
        name = self._tokenizer.convert_ids_to_tokens(token).casefold()
        special = not self._tokenizer.decode([token], skip_special_tokens=True)
        return special and any(word in name for word in _AUDIO_WORDS)

    @torch.inference_mode()
    def cloze_logprobs(
        self,
        audio: Sequence[Tensor],
        prompts: Sequence[Prompt],
        continuations: Sequence[Sequence[Sequence[int]]],
        positions: Sequence[Tensor] | None = None,
        total: Sequence[int] | None = None,
    ) -> list[list[float]]:
        if len(continuations) != len(prompts) or not all(ids for choices in continuations for ids in choices):
            raise ValueError(
                f"{len(continuations)} lists of continuations for {len(prompts)} prompts; give one a prompt, of one "
                "token or more each"
            )
        # A row for each choice, without its last token, which nothing reads. Rows of one question hold the very same
        # audio, so that it is read once.
        owners = [row for row, choices in enumerate(continuations) for _ in choices]
        answers = [tuple(ids) for choices in continuations for ids in choices]
        longer = [
            Prompt(prompts[row].before, (*prompts[row].after, *ids[:-1]))
            for row, ids in zip(owners, answers, strict=True)
        ]
        heard = [audio[row] for row in owners]
        kept = None if positions is None else [positions[row] for row in owners]
        whole = None if total is None else [total[row] for row in owners]
        rows = self._rows(heard, longer, kept, whole)
        states, ends, _, _ = self._read_rows(rows, shared_prefixes(heard, longer, kept))
        sums = torch.zeros(len(rows), device=self.device)
        lengths = torch.tensor([len(ids) for ids in answers])
        for place in range(int(lengths.max())):  # one token of all answers at a time: logits are wide
            having = torch.nonzero(lengths > place)[:, 0]
            at = ends[having] - lengths[having] + 1 + place
            logprobs = self._logits(states[having, at]).float().log_softmax(-1)
            tokens = torch.tensor([answers[row][place] for row in having.tolist()], device=self.device)
            sums[having.to(self.device)] += logprobs.gather(1, tokens[:, None])[:, 0]
        return [part.tolist() for part in sums.cpu().split([len(choices) for choices in continuations])]

    @torch.inference_mode()
    def generate(
        self,
        audio: Sequence[Tensor],
        prompts: Sequence[Prompt],
        max_new_tokens: int = 16,
        positions: Sequence[Tensor] | None = None,
        total: Sequence[int] | None = None,
    ) -> list[str]:
        # Not ``model.generate``: families differ in what theirs does to embeddings, positions and adapters.
        rows = self._rows(audio, prompts, positions, total, room=max_new_tokens)
        cache, tokens = DynamicCache(config=self._text_config), []
        prefixes = shared_prefixes(audio, prompts, positions)
        width = max(len(row.prefix.places) for row in rows) + max(len(row.after) for row in rows) + max_new_tokens
        slides = zip(cache.is_sliding, cache.layers, strict=True)
        if any(sliding and layer.sliding_window <= width for sliding, layer in slides):
            prefixes = list(range(len(rows)))  # the window would count the padding behind the shorter rows
        states, mask, places = self._prefill(rows, prefixes, cache)
        ended = torch.zeros(len(rows), dtype=torch.bool, device=self.device)
        finite, ends = ~ended, torch.tensor([*self._ends], dtype=torch.long, device=self.device)
        while True:
            best = self._logits(states).max(-1)  # NaN, where there is one
            finite &= best.values.isfinite() | ended
            tokens.append(best.indices)
            ended |= torch.isin(tokens[-1], ends)
            if len(tokens) == max_new_tokens or ended.all():
                break
            mask, places = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1), places + 1
            inputs = self._text_inputs(tokens[-1][:, None])
            states = self._read(inputs, mask, places[:, None], cache)[:, -1]
        if not finite.all():
            raise ValueError("the model gave logits that are not finite; use --dtype float32")
        return [self._reply(row) for row in torch.stack(tokens, dim=1).tolist()]

    def _reply(self, ids: list[int]) -> str:
        end = next((place for place, token in enumerate(ids) if token in self._ends), len(ids))
        return self._tokenizer.decode(ids[:end], skip_special_tokens=True).strip()

    def _letter_ids(self, n: int) -> list[int]:
        tokenizer = self._tokenizer
        found: list[int] = []
        for letter in letters_of(n):
            ids = tokenizer(letter, add_special_tokens=False)["input_ids"]
            if len(ids) != 1 or ids[0] == tokenizer.unk_token_id or ids[0] in found:
                raise ValueError(
                    f"{self.name}: the letter {letter!r} is {len(ids)} tokens {ids}, not one of its own; "
                    f"this tokenizer can answer questions of {len(found)} choices at most"
                )
            found.append(ids[0])
        return found
