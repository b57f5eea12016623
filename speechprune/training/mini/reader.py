"""Training the language model to answer from audio tokens: simulated ones first, then the encoder's own.

Several questions share one context: their prompts follow it side by side, hidden from one another by the mask and all
numbered as if they stood right behind the audio. The first layers' attention is supervised with what the corpus knows
(which words of the question and of the key sentence belong together); the architecture is the stock Qwen2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import trange
from transformers import Qwen2Config, Qwen2Model
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

from speechprune.prompts import format_question, letters
from speechprune.training.mini.config import ReaderConfig
from speechprune.training.mini.contexts import Context
from speechprune.training.mini.encoder import optimizers
from speechprune.training.mini.tokenizer import ANSWER, AUDIO_BOS, AUDIO_EOS, END
from speechprune.training.optimisation import update

QUESTIONS_PER_CONTEXT = 8
_SUPERVISED_LAYERS = 3
_OPEN = 0.3  # share of the questions asked without choices, answered by the value itself


def build_reader(config: ReaderConfig, table: Tensor, tokenizer) -> Qwen2Model:
    """A Qwen2 decoder whose embeddings are ``table``, frozen; its attention starts as a copier."""
    settings = Qwen2Config(
        vocab_size=len(table),
        hidden_size=config.hidden,
        intermediate_size=config.ffn,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        initializer_range=0.05,
        use_cache=False,
        tie_word_embeddings=False,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
    )
    settings._attn_implementation = "sdpa"
    model = Qwen2Model(settings)
    model.embed_tokens.weight.data.copy_(table)
    model.embed_tokens.weight.requires_grad_(False)
    for layer in model.layers:
        rotation = torch.linalg.qr(torch.randn(config.hidden, config.hidden))[0]
        layer.self_attn.v_proj.weight.data.copy_(rotation)
        layer.self_attn.o_proj.weight.data.copy_(rotation.T * 0.15)
    return model


@dataclass
class Batch:
    """Inputs (B, L, dim), positions (B, L), mask (B, 1, L, L) bool, targets, and what attention should look at.

    Attributes:
        rows: (row of the batch, position) of each answer; targets: the token due there; is_letter: choices were given.
        looks: (layer, head, row, position, positions to attend to).
    """

    inputs: Tensor
    positions: Tensor
    mask: Tensor
    rows: list[tuple[int, int]] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    is_letter: list[bool] = field(default_factory=list)
    looks: list[tuple[int, int, int, int, np.ndarray]] = field(default_factory=list)


class Packer:
    """Puts contexts and their questions into batches."""

    def __init__(self, tokenizer, table: Tensor) -> None:
        self.tokenizer, self.table = tokenizer, table
        self.bos, self.eos, self.answer = tokenizer.convert_tokens_to_ids([AUDIO_BOS, AUDIO_EOS, ANSWER])

    def pieces(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def answerable(self, context: Context) -> list[dict]:
        """Questions whose keywords and answer all left at least one token in the context."""
        found = []
        for q in context.labelled.questions:
            here = context.labelled.pieces[context.labelled.sentences == q["sentence"]]
            needed = [self.pieces(w) for w in (*q["keywords"], q["choices"][q["answer"]])]
            if all(np.isin(here, ids).any() for ids in needed):
                found.append(q)
        return found

    def pack(self, contexts: list[Context], rng: np.random.Generator, gap: int) -> Batch | None:
        """One batch, or None: nothing to ask. ``gap``: largest random jump of the positions from audio to questions."""
        blocks = []
        for context in contexts:
            asked = self.answerable(context)
            order = rng.permutation(len(asked))[:QUESTIONS_PER_CONTEXT]
            blocks.append([self._block(asked[i], rng.random() < _OPEN) for i in order])
        if not any(blocks):
            return None
        sizes = [len(c.states) + 2 + sum(len(ids) for ids, *_ in b) for c, b in zip(contexts, blocks, strict=True)]
        B, L = len(contexts), max(sizes)
        owner = torch.full((B, L), -1)  # 0: context, k: the k-th question, -1: padding
        batch = Batch(torch.zeros(B, L, self.table.shape[1]), torch.zeros(B, L, dtype=torch.long), torch.empty(0))
        for b, (context, questions) in enumerate(zip(contexts, blocks, strict=True)):
            n = len(context.states)
            where = context.positions if context.positions is not None else np.arange(n)
            batch.inputs[b, 0], batch.inputs[b, n + 1] = self.table[self.bos], self.table[self.eos]
            batch.inputs[b, 1 : n + 1] = context.states
            after = int(where[-1]) + 2
            batch.positions[b, 1 : n + 1] = torch.from_numpy(where) + 1
            batch.positions[b, n + 1] = after
            owner[b, : n + 2] = 0
            after += 1 + (int(rng.integers(0, gap + 1)) if rng.random() < 0.6 else 0)
            at = n + 2
            for number, (ids, q, marks) in enumerate(questions, start=1):
                end = at + len(ids)
                batch.inputs[b, at:end] = self.table[torch.tensor(ids)]
                batch.positions[b, at:end] = after + torch.arange(len(ids))
                owner[b, at:end] = number
                self._targets(batch, b, at, end - 1, context, q, marks)
                at = end
        causal = torch.ones(L, L, dtype=torch.bool).tril()
        visible = (owner[:, None] == 0) | (owner[:, None] == owner[:, :, None])
        visible = causal & visible & (owner[:, None] >= 0)
        batch.mask = (visible | torch.eye(L, dtype=torch.bool))[:, None]
        return batch

    def _block(self, q: dict, is_open: bool) -> tuple[list[int], dict, dict]:
        """Token ids of one prompt, and where its keywords and choices stand in it."""
        text = q["question"] if is_open else format_question(q["question"], q["choices"])
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ends = [end for _, end in encoded["offset_mapping"]]

        def token_at(char: int) -> int:
            return next(i for i, end in enumerate(ends) if end > char)

        marks: dict[str, list] = {"keywords": [token_at(text.index(w)) for w in q["keywords"]], "choices": []}
        if not is_open:
            for letter, choice in zip(letters(len(q["choices"])), q["choices"], strict=True):
                line = text.index(f"\n{letter}. ")
                first = line + len(f"\n{letter}. ")
                marks["choices"].append((token_at(line + 1), token_at(first + len(choice) - 1)))
        return [*encoded["input_ids"], self.answer], q, marks

    def _targets(self, batch: Batch, b: int, at: int, last: int, context: Context, q: dict, marks: dict) -> None:
        value = self.pieces(q["choices"][q["answer"]])
        batch.rows.append((b, last))
        batch.is_letter.append(bool(marks["choices"]))
        batch.targets.append(self.pieces(letters(len(q["choices"]))[q["answer"]])[0] if marks["choices"] else value[0])

        inside = context.labelled.sentences == q["sentence"]

        def spoken(ids: list[int]) -> np.ndarray:
            return 1 + np.flatnonzero(inside & np.isin(context.labelled.pieces, ids))

        values = spoken(value)
        for head, (word, place) in enumerate(zip(q["keywords"], marks["keywords"], strict=True)):
            batch.looks.append((0, head, b, last, np.array([at + place])))
            batch.looks.append((1, head, b, last, values))
            before = spoken(self.pieces(word))
            for position in values[::3]:
                if len(earlier := before[before < position]):
                    batch.looks.append((0, head, b, int(position), earlier))
        for letter, choice in marks["choices"]:
            batch.looks.append((0, 3, b, at + choice, np.array([at + letter])))
        if marks["choices"]:
            batch.looks.append((2, 0, b, last, np.array([at + marks["choices"][q["answer"]][1]])))


class Reader(nn.Module):
    """The decoder with the loss: cross-entropy on answers plus the supervision of attention."""

    def __init__(self, model: Qwen2Model) -> None:
        super().__init__()
        self.model = model
        self._seen: dict[tuple[int, str], Tensor] = {}
        for index in range(_SUPERVISED_LAYERS):
            for name in ("q_proj", "k_proj"):
                linear = getattr(model.layers[index].self_attn, name)
                linear.register_forward_hook(lambda _m, _i, out, key=(index, name): self._seen.__setitem__(key, out))

    def forward(self, batch: Batch) -> Tensor:
        """(answers, vocabulary) logits."""
        out = self.model(
            inputs_embeds=batch.inputs,
            position_ids=batch.positions,
            attention_mask={"full_attention": batch.mask},
            use_cache=False,
        ).last_hidden_state
        rows = torch.tensor(batch.rows)
        return out[rows[:, 0], rows[:, 1]] @ self.model.embed_tokens.weight.T

    def attention_loss(self, batch: Batch) -> Tensor:
        """Mean over layers and heads of -log(attention mass on the positions to look at)."""
        config = self.model.config
        rotary = self.model.rotary_emb(batch.inputs, batch.positions)
        B, L = batch.positions.shape
        split = (B, L, config.num_attention_heads, -1)
        losses = []
        for layer in range(_SUPERVISED_LAYERS):
            q, k = (self._seen[layer, name].view(split).transpose(1, 2) for name in ("q_proj", "k_proj"))
            q, k = apply_rotary_pos_emb(q, k, *rotary)
            for head in range(config.num_attention_heads):
                parts = []
                for b in range(B):
                    here = [(row, to) for la, h, bb, row, to in batch.looks if (la, h, bb) == (layer, head, b)]
                    if not here:
                        continue
                    rows = torch.tensor([row for row, _ in here])
                    logits = q[b, head, rows] @ k[b, head].T / math.sqrt(q.shape[-1])
                    logits = logits.masked_fill(~batch.mask[b, 0, rows], -1e9)
                    wanted = torch.full_like(logits, -1e9)
                    for i, (_, to) in enumerate(here):
                        wanted[i, torch.from_numpy(to)] = 0
                    parts.append(-(logits.log_softmax(-1) + wanted).logsumexp(-1).clamp(min=-20))
                if parts:
                    losses.append(torch.cat(parts).clamp(max=20).mean() * (1.0 if layer else 0.35))
        return torch.stack(losses).sum()


def train_reader(
    reader: Reader,
    config: ReaderConfig,
    batches: Iterator[Batch | None],
    steps: int,
    scale: float,
    title: str,
    on_accuracy: Callable[[float], None] = lambda _: None,
) -> None:
    """Train in place; ``scale``: of the learning rates, ``on_accuracy`` hears each batch's share of right answers."""
    updates = optimizers(reader, config.muon_lr * scale, config.adam_lr * scale)
    recent = {"letters": [0.5], "open": [0.0], "looks": [0.0]}
    bar = trange(steps, desc=title, unit="step")
    for number in bar:
        batch = next(batches)
        if batch is None:
            continue
        logits, targets = reader(batch), torch.tensor(batch.targets)
        looks = reader.attention_loss(batch)
        progress = number / steps
        weight = config.attention_supervision * (1 if progress < 0.4 else 0.3)
        loss = F.cross_entropy(logits, targets) + weight * looks
        update(
            updates,
            loss,
            reader.parameters(),
            min(1, (number + 1) / 60) * (0.05 + 0.475 * (1 + math.cos(math.pi * progress))),
        )
        right, kind = logits.argmax(-1) == targets, torch.tensor(batch.is_letter)
        for name, part in (("letters", right[kind]), ("open", right[~kind])):
            recent[name] = [*recent[name][-99:], *([part.float().mean().item()] if len(part) else [])]
        recent["looks"] = [*recent["looks"][-99:], looks.item()]
        on_accuracy(right.float().mean().item())
        bar.set_postfix({k: f"{np.mean(v):.3f}" for k, v in recent.items()}, refresh=False)
