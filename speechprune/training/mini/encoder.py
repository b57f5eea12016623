"""Training the audio encoder: every 40 ms audio token learns to point at the embedding of the piece being spoken.

Frame-level cross-entropy over scaled cosines between the projected state and a frozen table of piece embeddings, so
that the audio tokens live in the text's embedding space before the language model is ever trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import parametrize
from tqdm import trange
from transformers import Qwen2AudioEncoderConfig
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

from speechprune.training.mini.config import EncoderConfig
from speechprune.training.mini.material import IGNORED, MEL_FRAMES, WINDOW
from speechprune.training.optimisation import save_tensors, update

_SCALE = 14.0  # of the cosines in the softmax
_POSITION_SCALE = 0.3
# Positions that the heads of each layer look at to begin with, in 20 ms steps: neighbours, then further away.
_OFFSETS = ((-6, -2, 2, 6), (-12, -4, 4, 12), (-9, -3, 3, 9), (-16, -5, 5, 16))


def embedding_table(vocab: int, dim: int, seed: int, steps: int = 400) -> Tensor:
    """(vocab, dim) float32 unit vectors, pushed apart until their cosines are small. Shared by encoder and reader."""
    table = F.normalize(torch.randn(vocab, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)
    table.requires_grad_(True)
    optimizer = torch.optim.Adam([table], lr=0.01)
    for _ in range(steps):
        unit = F.normalize(table, dim=-1)
        cosines = unit @ unit.T - torch.eye(vocab)
        loss = 10 * (cosines**4).sum() + (cosines**2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return F.normalize(table.detach(), dim=-1)


class Encoder(nn.Module):
    """Qwen2AudioEncoder with its projector, also on windows shorter than 30 s (training crops)."""

    def __init__(self, config: EncoderConfig, dim: int) -> None:
        super().__init__()
        settings = Qwen2AudioEncoderConfig(
            num_mel_bins=config.mel_bins,
            encoder_layers=config.layers,
            encoder_attention_heads=config.heads,
            encoder_ffn_dim=config.ffn,
            d_model=config.d_model,
            max_source_positions=MEL_FRAMES // 2,
        )
        settings._attn_implementation = "sdpa"
        self.tower = Qwen2AudioEncoder(settings)
        self.projector = nn.Linear(config.d_model, dim)
        _look_at_neighbours(self.tower, config)

    def forward(self, mel: Tensor, offset: int = 0, valid: Tensor | None = None) -> Tensor:
        """mel (B, bins, 4n) float, first position ``offset`` (20 ms steps), valid (B, 2n) bool -> (B, n, dim)."""
        tower = self.tower
        x = F.gelu(tower.conv2(F.gelu(tower.conv1(mel)))).transpose(1, 2)
        x = x + tower.embed_positions.weight[offset : offset + x.shape[1]]
        mask = None if valid is None else torch.zeros(valid.shape).masked_fill(~valid, -1e9)[:, None, None]
        for layer in tower.layers:
            x = layer(x, mask)
        return self.projector(tower.layer_norm(tower.avg_pooler(x.transpose(1, 2)).transpose(1, 2)))


@torch.no_grad()
def _look_at_neighbours(tower: Qwen2AudioEncoder, config: EncoderConfig) -> None:
    """Start the heads as if they knew relative positions: q and k pick sinusoids, q turned by the head's offset.

    Only an initialisation, the architecture is the stock one; without it a small encoder spends its training on this.
    """
    d, head_dim = config.d_model, config.d_model // config.heads
    half = d // 2
    frequency = torch.exp(-math.log(10_000) * torch.arange(half) / (half - 1))
    angle = torch.arange(MEL_FRAMES // 2)[:, None] * frequency
    tower.embed_positions.weight.copy_(torch.cat([angle.sin(), angle.cos()], 1) * _POSITION_SCALE)
    chosen = torch.linspace(0, half * 0.62, head_dim // 2).round().long()  # the slowest sinusoids hardly move
    gain = 1.7
    for index, layer in enumerate(tower.layers):
        q, k = layer.self_attn.q_proj.weight, layer.self_attn.k_proj.weight
        for weight in (q, k):
            nn.init.normal_(weight, std=0.02)
        for head in range(config.heads):
            offsets = _OFFSETS[index % len(_OFFSETS)]
            turn = frequency[chosen] * offsets[head % len(offsets)]
            even = head * head_dim + 2 * torch.arange(len(chosen))
            k[even, chosen] += gain
            k[even + 1, chosen + half] += gain
            q[even, chosen] += gain * turn.cos()
            q[even, chosen + half] += gain * turn.sin()
            q[even + 1, chosen + half] += gain * turn.cos()
            q[even + 1, chosen] -= gain * turn.sin()
        for linear, std in (
            (layer.self_attn.v_proj, 0.06),
            (layer.self_attn.out_proj, 0.06),
            (layer.fc1, 0.06),
            (layer.fc2, 0.04),
        ):
            nn.init.normal_(linear.weight, std=std)


class _Folded(nn.Module):
    """A convolution's weight (out, in, width) kept as the matrix (out, in * width) that Muon asks for."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, matrix: Tensor) -> Tensor:
        return matrix.view(self.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight.flatten(1)


def optimizers(module: nn.Module, muon_lr: float, adam_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside layers and convolutions, AdamW for the rest; a schedule scales both."""
    inside = ("layers.", "parametrizations.")
    matrices = [
        p for n, p in module.named_parameters() if p.requires_grad and p.ndim == 2 and any(part in n for part in inside)
    ]
    taken = set(map(id, matrices))
    rest = [p for p in module.parameters() if p.requires_grad and id(p) not in taken]
    return [
        torch.optim.Muon(matrices, lr=muon_lr, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def augment(mel: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    """Gain, spectral tilt and ripple, a stretched frequency axis, noise and a masked band; mel (B, bins, T).

    ``strength`` in [0, 1]: how far, and how often, each of them goes.
    """
    B, bins, _ = mel.shape
    axis = torch.linspace(-1, 1, bins)[None, :, None]

    def normal(std: float) -> Tensor:
        return torch.from_numpy(rng.normal(0, std * strength, (B, 1, 1))).float()

    if rng.random() < 0.6 * strength:
        source = (torch.arange(bins) * rng.uniform(0.88, 1.12) + rng.uniform(-1.5, 1.5)).clamp(0, bins - 1.01)
        low = source.long()
        weight = (source - low)[None, :, None]
        mel = mel[:, low] * (1 - weight) + mel[:, low + 1] * weight
    ripple = torch.sin((axis + 1) / 2 * rng.uniform(3, 15) + torch.from_numpy(rng.uniform(0, 6.28, (B, 1, 1))).float())
    mel = mel + normal(0.08) + normal(0.15) * axis + normal(0.1) * ripple
    noise = torch.from_numpy(rng.standard_normal(mel.shape, dtype=np.float32))
    mel = mel + noise * rng.uniform(0, 0.08 * strength)
    for b in np.flatnonzero(rng.random(B) < 0.5 * strength):
        first, width = rng.integers(0, bins - 10), rng.integers(3, 10)
        mel[b, first : first + width] = mel[b].mean()
    return mel


def _batches(config: EncoderConfig, mel: np.ndarray, labels: np.ndarray, rng) -> Iterator[tuple]:
    """(mel, labels, offset, valid): short crops first, whole windows in the last ``full_windows`` of the steps."""
    lengths = (labels != IGNORED).sum(1)
    crop = round(config.crop_seconds * 25)
    usable = np.flatnonzero(lengths >= crop)
    for number in range(config.steps):
        whole = number >= config.steps * (1 - config.full_windows)
        size = max(1, config.batch // 4) if whole else config.batch
        rows = rng.choice(np.flatnonzero(lengths >= 25) if whole else usable, size)
        starts = [0 if whole else int(rng.integers(0, lengths[r] - crop + 1)) for r in rows]
        n = WINDOW if whole else crop
        x = torch.from_numpy(np.stack([mel[r, :, 4 * s : 4 * (s + n)] for r, s in zip(rows, starts, strict=True)]))
        y = torch.from_numpy(np.stack([labels[r, s : s + n] for r, s in zip(rows, starts, strict=True)])).long()
        valid = (y != IGNORED).repeat_interleave(2, 1) if whole else None
        offset = 0 if whole else int(rng.integers(0, MEL_FRAMES // 2 - 2 * n))
        yield x.float(), y, offset, valid


def train_encoder(config: EncoderConfig, table: Tensor, features: Path, out: Path, seed: int) -> None:
    """Train on ``features`` (mel.npy, labels.npy of ``write_features``); writes ``out`` (safetensors) at the end."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    mel, labels = (np.load(features / f"{name}.npy", mmap_mode="r") for name in ("mel", "labels"))
    counts = torch.bincount(torch.from_numpy(labels[labels != IGNORED]).long(), minlength=len(table)).float()
    weight = (counts.sum() / (counts > 0).sum() / (counts + 50)).clamp(0.15, 3).sqrt()
    encoder = Encoder(config, table.shape[1])
    convolutions = (encoder.tower.conv1, encoder.tower.conv2)
    for convolution in convolutions:
        parametrize.register_parametrization(convolution, "weight", _Folded(convolution.weight.shape))
    updates = optimizers(encoder, config.muon_lr, config.adam_lr)
    bar = trange(config.steps, desc="encoder", unit="step")
    recent = 0.0
    for number, (x, y, offset, valid) in zip(bar, _batches(config, mel, labels, rng), strict=True):
        progress = number / config.steps
        states = encoder(augment(x, rng, min(1.0, progress / 0.4)), offset, valid)
        logits = _SCALE * F.normalize(states, dim=-1) @ table.T
        keep = y != IGNORED
        loss = F.cross_entropy(logits[keep], y[keep], weight=weight, label_smoothing=0.02)
        # Unit norms, as the text embeddings have: pruners and the reader then see one kind of vector.
        loss = loss + 0.1 * ((states.norm(dim=-1) - 1)[keep] ** 2).mean()
        update(updates, loss, encoder.parameters(), min(1, (number + 1) / 30) * (0.02 + 0.98 * (1 - progress)))
        recent = 0.98 * recent + 0.02 * (logits.argmax(-1) == y)[keep].float().mean().item()
        bar.set_postfix(accuracy=f"{recent / (1 - 0.98 ** (number + 1)):.3f}", loss=f"{loss.item():.3f}", refresh=False)
    for convolution in convolutions:
        parametrize.remove_parametrizations(convolution, "weight")
    save_tensors(out, encoder.state_dict())


@torch.inference_mode()
def project_windows(config: EncoderConfig, table: Tensor, weights: Path, features: Path, out: Path) -> float:
    """All audio tokens of ``features`` as the reader sees them; returns the share of tokens labelled right.

    Writes ``out``: (W, 750, dim) float16 .npy.
    """
    encoder = Encoder(config, table.shape[1]).eval()
    encoder.load_state_dict(load_file(weights))
    mel, labels = (np.load(features / f"{name}.npy", mmap_mode="r") for name in ("mel", "labels"))
    states = np.zeros((len(mel), WINDOW, table.shape[1]), np.float16)
    right = total = 0.0
    for i in trange(0, len(mel), 8, desc="audio tokens", unit="batch"):
        y = torch.from_numpy(np.array(labels[i : i + 8])).long()
        z = encoder(torch.from_numpy(np.array(mel[i : i + 8])).float(), 0, (y != IGNORED).repeat_interleave(2, 1))
        states[i : i + 8] = z.numpy()
        keep = y != IGNORED
        right += ((F.normalize(z, dim=-1) @ table.T).argmax(-1) == y)[keep].sum().item()
        total += keep.sum().item()
    np.save(out, states)
    return right / total
