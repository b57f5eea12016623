"""Alignment: every audio token lands on the LLM's own embedding of the piece that is spoken.

Cross-entropy over scaled cosines between the projected states and the LLM's frozen table, over the pieces of the batch
and a sample of the others. Cosines are taken from the table's mean, which can be longer than what tells pieces apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from speechprune.training.composed.config import AlignConfig
from speechprune.training.composed.labels import FRAME_RATE, Labeller
from speechprune.training.composed.states import Row, Store, Window
from speechprune.training.composed.tower import POOL, Upper
from speechprune.training.optimisation import Checkpoint, quick, save_tensors, schedule, update

_SCALE = (20.0, 60.0)  # of the cosines: at first, at most
_NORM_WEIGHT = 0.05
_UNIFORM = 0.15  # share of the sampled pieces that are drawn from the whole vocabulary


@dataclass(frozen=True)
class Labelled:
    """A stored window with the piece of each of its audio tokens: (tokens,) int32."""

    window: Window
    pieces: np.ndarray


def label_rows(rows: Sequence[Row], labeller: Labeller) -> list[Labelled]:
    found = []
    for row in rows:
        pieces = labeller.frames(row.words, math.ceil(row.duration * FRAME_RATE))
        for window in row.windows:
            first = round(window.start * FRAME_RATE)
            found.append(Labelled(window, pieces[first : first + window.count // POOL]))
    return found


class Table(nn.Module):
    """The LLM's embeddings as the targets: their mean, what is left of each, and its usual length."""

    mean: Tensor
    unit: Tensor
    norm: Tensor

    def __init__(self, embeddings: Tensor) -> None:
        super().__init__()
        mean = embeddings.float().mean(0)
        rest = embeddings.float() - mean
        self.register_buffer("mean", mean)
        self.register_buffer("unit", F.normalize(rest, dim=-1))
        self.register_buffer("norm", rest.norm(dim=-1).median())

    def cosines(self, tokens: Tensor, pieces: Tensor | slice = slice(None)) -> Tensor:
        """Audio tokens (N, D) -> (N, pieces)."""
        return F.normalize(tokens - self.mean, dim=-1) @ self.unit[pieces].T


def batches(data: Sequence[Labelled], store: Store, config: AlignConfig, seed: int, first: int, steps: int) -> Iterator:
    """(states (B, n, d), pieces (B, n / 2)) of the steps from ``first`` on: crops, at the end whole windows."""
    counts = np.array([item.window.count for item in data])
    crop = min(POOL * round(config.crop_seconds * FRAME_RATE), int(counts.max()))
    long = np.flatnonzero(counts >= crop)
    whole_size = max(1, round(config.batch * crop / counts.max()))
    for step in range(first, steps):
        rng = np.random.default_rng((seed, step))
        if step < steps * (1 - config.full_windows):
            rows = rng.choice(long, config.batch)
            starts = [POOL * int(rng.integers(0, (counts[row] - crop) // POOL + 1)) for row in rows]
            n = crop
        else:  # windows of about one length, short ones too
            rank = int(rng.integers(len(data)))
            order = np.argsort(counts, kind="stable")
            same = order[max(0, rank - 50) : rank + 50]
            rows = rng.choice(same, whole_size)
            n = int(counts[rows].min())
            starts = [0] * len(rows)
        states = [store.read(data[row].window, start, start + n) for row, start in zip(rows, starts, strict=True)]
        pieces = [data[row].pieces[s // POOL : (s + n) // POOL] for row, s in zip(rows, starts, strict=True)]
        yield torch.from_numpy(np.stack(states)), torch.from_numpy(np.stack(pieces)).long()


class Aligner(nn.Module):
    """The trained upper part, the table, and the loss between them."""

    def __init__(self, upper: Upper, table: Table, frequencies: Tensor, silence: int, config: AlignConfig) -> None:
        super().__init__()
        self.upper, self.table = upper, table
        self.log_scale = nn.Parameter(torch.tensor(math.log(_SCALE[0])))
        weights = frequencies.sqrt()
        self._likely = weights / weights.sum()
        self._silence, self._config = silence, config

    def loss(self, states: Tensor, pieces: Tensor, generator: torch.Generator) -> tuple[Tensor, float]:
        """Of a batch, and the share of its speech that is nearest to the right piece among the sampled ones."""
        tokens = self.upper(states.float()).flatten(0, 1).float()
        labels = pieces.flatten()
        chosen = self._sample(labels, generator)
        place = torch.full((len(self.table.unit),), -1).to(labels.device)
        place[chosen] = torch.arange(len(chosen)).to(labels.device)
        logits = self.log_scale.exp().clamp(max=_SCALE[1]) * self.table.cosines(tokens, chosen).float()
        speech = labels != self._silence
        weights = torch.where(speech, 1.0, self._config.silence_weight)
        loss = (F.cross_entropy(logits, place[labels], reduction="none") * weights).sum() / weights.sum()
        off = (tokens - self.table.mean).norm(dim=-1) / self.table.norm - 1
        right = (logits.argmax(-1) == place[labels])[speech].float().mean().item()
        return loss + _NORM_WEIGHT * off.square().mean(), right

    def _sample(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """The pieces of the batch, likely others, and a few of all."""
        likely = round(self._config.sampled * (1 - _UNIFORM))
        others = torch.multinomial(self._likely, min(likely, int((self._likely > 0).sum())), generator=generator)
        some = torch.randint(len(self.table.unit), (self._config.sampled - likely,), generator=generator)
        return torch.cat([labels.unique(), others.to(labels.device), some.to(labels.device)]).unique()


def frame_accuracy(upper: Upper, table: Table, data: Sequence[Labelled], store: Store, silence: int) -> dict:
    """Share of audio tokens whose nearest piece, of the whole vocabulary, is the one spoken; in speech, in silence."""
    right, total = {True: 0, False: 0}, {True: 0, False: 0}
    upper.eval()
    device = table.mean.device
    with torch.inference_mode(), quick(device):
        for item in data:
            states = torch.from_numpy(store.read(item.window).copy()).to(device).float()
            nearest = table.cosines(upper(states[None])[0].float()).argmax(-1).cpu().numpy()
            speech = item.pieces != silence
            for kind, chosen in ((True, speech), (False, ~speech)):
                right[kind] += int((nearest == item.pieces)[chosen].sum())
                total[kind] += int(chosen.sum())
    return {
        "speech": round(right[True] / max(1, total[True]), 4),
        "silence": round(right[False] / max(1, total[False]), 4),
        "tokens": total[True] + total[False],
    }


def train(
    aligner: Aligner, data: Sequence[Labelled], store: Store, steps: int, seed: int, out: Path, title: str
) -> None:
    """Train for ``steps`` steps; ``out`` (safetensors) gets the upper part at the end.

    What a killed run had reached stands in ``out`` with ``.checkpoint`` behind its name, and is taken up.
    """
    config = aligner._config
    device = aligner.table.mean.device
    trained = list(aligner.parameters())
    decayed, others = ([p for p in trained if (p.ndim > 1) == wanted] for wanted in (True, False))
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98))
    checkpoint = Checkpoint(out, aligner, [optimizer], config.checkpoint_minutes)
    first = checkpoint.resume()
    recent = 0.0
    aligner.upper.train()
    bar = tqdm(total=steps, initial=first, desc=title, unit="step")
    for step, (states, pieces) in enumerate(batches(data, store, config, seed, first, steps), first):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        with quick(device):
            loss, right = aligner.loss(states.to(device), pieces.to(device), generator)
        update([optimizer], loss, trained, schedule(step, steps, warmup=100))
        recent = 0.98 * recent + 0.02 * right
        bar.set_postfix(
            right=f"{recent / (1 - 0.98 ** (step - first + 1)):.3f}", loss=f"{loss.item():.2f}", refresh=False
        )
        bar.update()
        checkpoint.save_if_due(step + 1)
    bar.close()
    save_tensors(out, aligner.upper.state_dict())
    checkpoint.remove()
