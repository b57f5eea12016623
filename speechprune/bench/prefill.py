"""Qwen2-Audio's prefill with random weights, unpruned and pruned, beside the paper's times. For a GPU."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

from speechprune.bench.sizes import PAPER_MS, QUERY_TOKENS, SECONDS
from speechprune.bench.timing import Times, milliseconds, side_by_side
from speechprune.common.defaults import TEXT_TOKENS
from speechprune.common.markdown import aligned_table
from speechprune.costs.audio_encoder import encoder_cost
from speechprune.costs.count import recording
from speechprune.costs.profiling import RATES
from speechprune.pruners import FirstLayer, PruneInputs, SpeechPrune

BATCHES = (1, 8, 32)
WINDOWS = 8  # that the encoder reads at once
ABOUT = (
    "The architecture of Qwen2-Audio-7B with random weights: pruning and prefill, from a recording's audio tokens to "
    "the logits of the last position, KV cache kept. The first row of a batch, Original, prunes nothing and encodes "
    "one window; the others encode and prune the whole recording. `ratio` is the first row's time by this one's, "
    "pruning included and the encoder left out, as in the paper; the limit is the ratio of the lengths. The paper's "
    "are Table I's (batch 1, a Quadro RTX 6000). `pruning %` is of pruning and prefill together."
)


def random_model(
    config: Qwen2AudioConfig, device: torch.device, dtype: torch.dtype
) -> Qwen2AudioForConditionalGeneration:
    """A Qwen2-Audio of random weights, made where it will run."""
    with torch.device(device):
        return Qwen2AudioForConditionalGeneration._from_config(config, dtype=dtype).eval().requires_grad_(False)


def prefill_rows(
    model: Qwen2AudioForConditionalGeneration,
    batches: Sequence[int] = BATCHES,
    repeats: int = 7,
    seconds: float = SECONDS,
) -> Iterator[dict]:
    """Time encoder, pruning and prefill for every batch size and rate.

    Args:
        model: any Qwen2-Audio; pruners get float32, as from every adapter.
        batches: how many recordings at once.
        repeats: timed rounds, at least 2, after one other.
        seconds: of each recording.
    Yields:
        {batch, rate (None: Original), audio_tokens, tokens, time (prune and prefill), pruning (None for Original),
        encoder (``Times`` all), encoder_share (of encoder, pruning and prefill), pruning_share (of pruning and
        prefill; None for Original), ratio, ratio_with_encoder, limit, paper (None where Table I has no such row),
        peak_bytes (None on a CPU)} or, where memory does not suffice, {batch, error}.
    """
    for batch in batches:
        try:
            yield from Requests(model, batch, seconds).measure(repeats)
        except torch.OutOfMemoryError:
            yield {"batch": batch, "error": f"out of memory on {model.device}"}
            torch.cuda.empty_cache()


class Requests:
    """Questions about as many recordings of random tokens, and what is done with them."""

    def __init__(self, model: Qwen2AudioForConditionalGeneration, batch: int, seconds: float):
        text, cost, device = model.config.text_config, encoder_cost(model.config), model.device
        self.windows, available = recording(cost, 0, seconds)
        self.model, self.batch, self.window, self.device = model, batch, cost.tokens, device
        generator = torch.Generator(device).manual_seed(0)

        def noise(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=device)

        attention = model.get_decoder().layers[0].self_attn
        q, k = (projection.weight.float() for projection in (attention.q_proj, attention.k_proj))
        self.inputs = PruneInputs(
            S=noise(batch, available, text.hidden_size),
            lengths=torch.full((batch,), available, device=device),
            T=noise(batch, QUERY_TOKENS, text.hidden_size),
            query_lengths=torch.full((batch,), QUERY_TOKENS, device=device),
            frame_rate=cost.tokens / cost.seconds,
            window=cost.tokens,
            first_layer=FirstLayer(q, k, text.num_attention_heads, text.num_key_value_heads),
        )
        self.prompt = noise(batch, TEXT_TOKENS, text.hidden_size).to(model.dtype)
        audio = model.config.audio_config
        self.mel = noise(WINDOWS, audio.num_mel_bins, 2 * audio.max_source_positions).to(model.dtype)

    def encode(self, windows: int) -> None:
        """``windows`` of every recording."""
        left = windows * self.batch
        while left > 0:
            self.model.model.multi_modal_projector(self.model.model.audio_tower(self.mel[:left]).last_hidden_state)
            left -= WINDOWS

    def prune(self, keep: int) -> Tensor:
        """(B, keep) int64."""
        return SpeechPrune().select(self.inputs, keep)

    def prefill(self, kept: Tensor) -> Tensor:
        """The logits at the last position, (B, 1, vocabulary)."""
        rows = torch.arange(self.batch, device=self.device)[:, None]
        return self.read(self.inputs.S[rows, kept])

    def read(self, audio: Tensor) -> Tensor:
        """As ``prefill``, of audio tokens (B, K, D); every row has the first row's prompt where there are more rows."""
        half, prompt = TEXT_TOKENS // 2, self.prompt
        if len(audio) > len(prompt):
            prompt = prompt[:1].expand(len(audio), -1, -1)
        embedded = torch.cat([prompt[:, :half], audio.to(prompt.dtype), prompt[:, half:]], dim=1)
        states = self.model.get_decoder()(inputs_embeds=embedded, use_cache=True).last_hidden_state
        return self.model.get_output_embeddings()(states[:, -1:])

    def original(self) -> Tensor:
        return self.prefill(torch.arange(self.window, device=self.device).expand(self.batch, -1))

    def first_token(self, rate: float | None) -> Tensor:
        """From the spectrograms to the first token of every answer, (B, 1); a rate of None is Original, one window."""
        self.encode(1 if rate is None else self.windows)
        logits = self.original() if rate is None else self._prune_and_prefill(self.budget(rate))
        return logits.argmax(-1)

    def budget(self, rate: float) -> int:
        return max(1, round(self.window * (1 - rate)))

    @torch.inference_mode()
    def measure(self, repeats: int) -> list[dict]:
        budgets: dict[float | None, int] = {rate: self.budget(rate) for rate in RATES}
        whole: dict[float | None, Callable[[], object]] = {None: self.original}
        for pruned, keep in budgets.items():
            whole[pruned] = functools.partial(self._prune_and_prefill, keep)
        peaks = {rate: self.peak(run) for rate, run in whole.items()}
        runs = {f"whole {rate}": run for rate, run in whole.items()}
        runs |= {f"prune {rate}": functools.partial(self.prune, keep) for rate, keep in budgets.items()}
        runs |= {f"encode {windows}": functools.partial(self.encode, windows) for windows in {1, self.windows}}
        times = side_by_side(runs, self.device, repeats)
        first = times["whole None"], times["encode 1"]
        rows = []
        for rate in whole:
            keep = budgets.get(rate, self.window)
            encoder = times[f"encode {1 if rate is None else self.windows}"]
            row: dict[str, float | None] = {
                "batch": self.batch,
                "rate": rate,
                "audio_tokens": keep,
                "tokens": keep + TEXT_TOKENS,
            }
            row |= {"limit": (self.window + TEXT_TOKENS) / (keep + TEXT_TOKENS), "peak_bytes": peaks[rate]}
            row["paper"] = PAPER_MS[self.window] / PAPER_MS[keep] if {self.window, keep} <= PAPER_MS.keys() else None
            rows.append(row | _times(times[f"whole {rate}"], times.get(f"prune {rate}"), encoder, first))
        return rows

    def _prune_and_prefill(self, keep: int) -> Tensor:
        return self.prefill(self.prune(keep))

    def peak(self, run: Callable[[], object]) -> int | None:
        """Bytes that torch had allocated at most; this call warms up, too."""
        if self.device.type != "cuda":
            run()
            return None
        torch.cuda.reset_peak_memory_stats(self.device)
        run()
        return torch.cuda.max_memory_allocated(self.device)


def _times(whole: Times, pruning: Times | None, encoder: Times, first: tuple[Times, Times]) -> dict:
    total = whole.median_seconds + encoder.median_seconds
    return {
        "time": whole.as_dict(),
        "pruning": pruning.as_dict() if pruning else None,
        "encoder": encoder.as_dict(),
        "encoder_share": encoder.median_seconds / total,
        "pruning_share": pruning.median_seconds / whole.median_seconds if pruning else None,
        "ratio": first[0].median_seconds / whole.median_seconds,
        "ratio_with_encoder": sum(times.median_seconds for times in first) / total,
    }


def format_prefill(rows: Sequence[dict]) -> str:
    head = ["batch", "PR", "L", "median ms", "quartiles ms", "pruning ms", "pruning %", "ratio", "paper", "limit"]
    head += ["encoder ms", "encoder %", "ratio with it", "peak GB"]
    body = []
    for row in rows:
        if "error" in row:
            body.append([str(row["batch"]), row["error"], *[""] * (len(head) - 2)])
            continue
        body.append(
            [
                str(row["batch"]),
                "-" if row["rate"] is None else f"{row['rate']:g}",
                str(row["tokens"]),
                *milliseconds(row["time"]),
                milliseconds(row["pruning"])[0] if row["pruning"] else "-",
                f"{100 * row['pruning_share']:.2g}" if row["pruning"] else "-",
                f"{row['ratio']:.2f}",
                "-" if row["paper"] is None else f"{row['paper']:.2f}",
                f"{row['limit']:.2f}",
                milliseconds(row["encoder"])[0],
                f"{100 * row['encoder_share']:.0f}",
                f"{row['ratio_with_encoder']:.2f}",
                gigabytes(row["peak_bytes"]),
            ]
        )
    return f"{ABOUT}\n\n{aligned_table(head, body)}"


def gigabytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e9:.1f}"
