"""Reading: low-rank updates (LoRA, arXiv 2106.09685) teach the LLM to read 25 aligned tokens a second."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel

from speechprune.common.meter import Meter
from speechprune.training.composed.config import ReadConfig
from speechprune.training.composed.labels import FRAME_RATE
from speechprune.training.composed.prompting import Prompter
from speechprune.training.composed.states import Row, Store
from speechprune.training.composed.tasks import TEXT_SHARE, Task, TaskMaker, thin
from speechprune.training.composed.tower import POOL, Upper
from speechprune.training.optimisation import Checkpoint, quick, save_tensors, schedule, update

_SECONDS = (4.0, 8.0, 16.0, 32.0, 64.0, 96.0)  # of speech in a sequence; the longer ones come later
_ALL_LENGTHS = 0.4  # share of the steps after which all are drawn
_LONGEST = 240.0
_KEPT = (0.3, 0.8)  # share of a thinned sequence's tokens
_IGNORED = -100
_OF_TEXT = "_of_text"
_EVALUATED = {
    "copy": ("copy", 8.0),
    "cloze": ("cloze", 8.0),
    "far_cloze": ("cloze", 64.0),
    "question": ("question", 40.0),
}


@dataclass(frozen=True)
class Batch:
    """Inputs (B, L, D), mask (B, L) and targets (B, L), each one place before the token it asks for."""

    inputs: Tensor
    mask: Tensor
    targets: Tensor


class Ears(nn.Module):
    """Audio tokens of any part of a stored recording, by the aligned upper layers.

    Args:
        trained: whether these learn on with the LLM; otherwise they stay as they are.
    """

    def __init__(self, upper: Upper, store: Store, trained: bool = False) -> None:
        super().__init__()
        self.upper, self._store = upper.eval().requires_grad_(trained), store

    def hear(self, row: Row, start: float, end: float) -> Tensor:
        """Tokens (N, D) float32 of seconds [start, end)."""
        device = next(self.upper.parameters()).device
        first, last, found = round(start * FRAME_RATE), round(end * FRAME_RATE), []
        for window in row.windows:
            offset = round(window.start * FRAME_RATE)
            a, b = max(0, first - offset), min(window.count // POOL, last - offset)
            if a < b:
                states = torch.from_numpy(self._store.read(window, POOL * a, POOL * b).copy()).to(device).float()
                with quick(device):
                    found.append(self.upper(states[None])[0].float())
        return torch.cat(found)


class Reader(nn.Module):
    """The LLM with its low-rank updates.

    Args:
        llm: a causal LLM; ``peft`` puts its updates into it.
        prompter: writes requests.
        ears: makes audio tokens.
    """

    def __init__(self, llm: PreTrainedModel, prompter: Prompter, ears: Ears, rank: int) -> None:
        super().__init__()
        self.llm = add_lora(llm, rank)
        self._prompter, self.ears = prompter, ears

    def batch(self, tasks: Sequence[tuple[Task, float, bool]], rng: random.Random) -> Batch:
        """Of (task, share of its audio tokens that is kept, whether words stand in place of the audio)."""
        rows = [self._sequence(task, share, textual, rng) for task, share, textual in tasks]
        width = max(len(inputs) for inputs, _ in rows)
        inputs = torch.stack([F.pad(x, (0, 0, 0, width - len(x))) for x, _ in rows])
        targets = torch.stack([F.pad(y, (0, width - len(y)), value=_IGNORED) for _, y in rows])
        lengths = torch.tensor([len(x) for x, _ in rows], device=inputs.device)
        mask = torch.arange(width, device=inputs.device) < lengths[:, None]
        return Batch(inputs, mask.long(), targets)

    def _sequence(self, task: Task, share: float, textual: bool, rng: random.Random) -> tuple[Tensor, Tensor]:
        frame, behind, due = self._prompter.frame(task.turns[0].request), [], []
        for number, turn in enumerate(task.turns):
            asked = self._prompter.again(turn.request) if number else frame.after
            answer = self._prompter.answer(turn.answer, blank=not turn.letter)
            behind += [*asked, *answer]
            due += [_IGNORED] * len(asked) + answer
        embed = self.llm.get_input_embeddings()
        device = embed.weight.device

        def embedded(ids: list[int]) -> Tensor:
            return embed(torch.tensor(ids, device=device).long()).detach().float()

        if textual:
            middle = embedded(self._prompter.text(task.words))
        else:
            middle = self.ears.hear(task.row, task.start, task.end)
            if share < 1:
                middle = thin(middle, rng, max(1, round(share * len(middle))))
        inputs = torch.cat([embedded(frame.before), middle, embedded(behind[:-1])])
        targets = torch.full((len(inputs),), _IGNORED, device=device)
        targets[len(inputs) - len(due) :] = torch.tensor(due, device=device)
        return inputs, targets

    def predict(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits (answers' tokens, vocabulary) and the tokens due there."""
        states = self.llm.get_decoder()(
            inputs_embeds=batch.inputs, attention_mask=batch.mask, use_cache=False
        ).last_hidden_state
        due = batch.targets != _IGNORED
        return self.llm.get_output_embeddings()(states[due]), batch.targets[due]


def add_lora(llm: PreTrainedModel, rank: int) -> PreTrainedModel:
    """``llm`` itself, with updates of ``rank`` on every linear map inside its layers; only they are trained."""
    from peft import LoraConfig, inject_adapter_in_model

    names = {name.rsplit(".", 1)[-1] for name, m in llm.get_decoder().named_modules() if isinstance(m, nn.Linear)}
    llm.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=sorted(names)), llm)
    for name, parameter in llm.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return llm


def draw_tasks(
    maker: TaskMaker, config: ReadConfig, rng: random.Random, progress: float
) -> list[tuple[Task, float, bool]]:
    """What one step reads: sequences of about one length, as many as ``config.tokens`` allows."""
    longest = 2 + round(progress / _ALL_LENGTHS * (len(_SECONDS) - 2))
    seconds = rng.choice(_SECONDS[:longest])
    share = rng.uniform(*_KEPT) if rng.random() < config.thinned else 1.0
    count = max(1, int(config.tokens / (seconds * FRAME_RATE)))
    drawn = [maker.draw(rng, min(_LONGEST, seconds / share)) for _ in range(count)]
    tasks = [(task, share, rng.random() < TEXT_SHARE) for task in drawn if task is not None]
    return tasks or draw_tasks(maker, config, rng, progress)


def train_reader(reader: Reader, rows: Sequence[Row], config: ReadConfig, seed: int, out: Path) -> None:
    """Train for ``config.steps`` steps; ``out`` (safetensors) gets the low-rank updates at the end, and what the
    encoder has become where it is trained too.

    What a killed run had reached stands in ``out`` with ``.checkpoint`` behind its name, and is taken up.
    """
    maker = TaskMaker(rows)
    updates, encoder = ([p for p in part.parameters() if p.requires_grad] for part in (reader.llm, reader.ears))
    trained = updates + encoder
    groups = [{"params": updates, "lr": config.lr}, {"params": encoder, "lr": config.encoder_lr}]
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
    checkpoint = Checkpoint(out, reader, [optimizer], config.checkpoint_minutes)
    first = checkpoint.resume()
    device = trained[0].device
    recent = [0.0, 0.0]
    with tqdm(total=config.steps, initial=first, desc="read", unit="step") as bar:
        for step in range(first, config.steps):
            rng = random.Random(f"{seed}/read/{step}")
            batch = reader.batch(draw_tasks(maker, config, rng, step / config.steps), rng)
            with quick(device):
                logits, due = reader.predict(batch)
                loss = F.cross_entropy(logits.float(), due)
            update([optimizer], loss, trained, schedule(step, config.steps, warmup=20))
            right = (logits.argmax(-1) == due).float().mean().item()
            recent = [0.97 * old + 0.03 * new for old, new in zip(recent, (right, loss.item()), strict=True)]
            scale = 1 - 0.97 ** (step - first + 1)
            bar.set_postfix(right=f"{recent[0] / scale:.3f}", loss=f"{recent[1] / scale:.2f}", refresh=False)
            bar.update()
            checkpoint.save_if_due(step + 1)
    save_tensors(out, _weights(reader))
    checkpoint.remove()


def _weights(reader: Reader) -> dict[str, Tensor]:
    return {name: p.data for name, p in reader.named_parameters() if p.requires_grad}


@torch.no_grad()
def go_on(reader: Reader, updates: Mapping[str, Tensor], start: str) -> None:
    """Begin with the low-rank ``updates`` of the delta ``start``; with fresh ones where it has none.

    Raises:
        ValueError: they have another rank.
    """
    for name, parameter in reader.named_parameters():
        if "lora_" not in name or not updates:
            continue
        found = updates[name.removeprefix("llm.")]
        if found.shape != parameter.shape:
            raise ValueError(
                f"{start}: its updates have rank {min(found.shape)}, the configuration says {min(parameter.shape)}; "
                "set read.rank to that"
            )
        parameter.copy_(found)


def load_reader(reader: Reader, path: Path) -> None:
    """Fill in what ``train_reader`` wrote; ValueError where the file holds what belongs to another."""
    wanted, found = _weights(reader), load_file(path)
    if wanted.keys() != found.keys():
        raise ValueError(f"{path}: its updates are of another LLM ({sorted(wanted.keys() ^ found.keys())[0]})")
    for name, tensor in wanted.items():
        tensor.copy_(found[name])


def split_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What ``train_reader`` wrote: the LLM's low-rank updates, and the tensors of ``Upper`` (none if not trained)."""
    found = load_file(path)

    def named(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}

    return named("llm."), named("ears.upper.")


@torch.inference_mode()
def evaluate(reader: Reader, rows: Sequence[Row], count: int, seed: int, suffix: str = "") -> dict[str, float]:
    """Of ``count`` tasks of each kind over ``rows``, whole: shares of answers' tokens that are most likely when those
    before them are given, and of letters that are right among the four; kinds that nothing is asked of are left out.

    Args:
        suffix: of the names; with "_of_text" the words are read, not heard.
    """
    maker, shares = TaskMaker(rows), {}
    for name, (kind, seconds) in _EVALUATED.items():
        rng, right, letters = random.Random(f"{seed}/{name}"), [], []
        for task in Meter(list(_draw(maker, rng, kind, seconds, count)), f"dev {name}{suffix}", "tasks"):
            logits, due = reader.predict(reader.batch([(task, 1.0, suffix == _OF_TEXT)], rng))
            if task.turns[0].letter:
                ids = [reader._prompter.answer(letter, blank=False)[0] for letter in "ABCD"]
                letters.append(float(ids[int(logits[0, ids].argmax())] == int(due[0])))
            else:
                right += (logits.argmax(-1) == due)[:-1].float().tolist()
        if right:
            shares[name + suffix] = round(sum(right) / len(right), 4)
        if letters:
            shares[f"{name}{suffix}_letters"] = round(sum(letters) / len(letters), 4)
    return shares


def _draw(maker: TaskMaker, rng: random.Random, kind: str, seconds: float, count: int) -> Iterator[Task]:
    drawn = 0
    while drawn < count:
        task = maker.draw(rng, seconds, kind, turns=1)
        if task is not None and task.kind == kind:
            drawn += 1
            yield task
        elif task is not None:
            return  # nothing of this kind can be asked
