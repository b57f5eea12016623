"""From cuts to a Hugging Face folder: vocabulary, encoder, reader, export. What is done is not done twice."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from lhotse import MonoCut
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

from speechprune.common.files import atomic_write
from speechprune.data.cuts import Problem, read_cuts
from speechprune.prompts import format_question
from speechprune.training.mini.config import TrainConfig
from speechprune.training.mini.contexts import real, simulated
from speechprune.training.mini.encoder import Encoder, embedding_table, project_windows, train_encoder
from speechprune.training.mini.material import WINDOW, Labelled, label_cut, write_features
from speechprune.training.mini.reader import Batch, Packer, Reader, build_reader, train_reader
from speechprune.training.mini.tokenizer import AUDIO, build_processor, train_sentencepiece
from speechprune.training.optimisation import save_tensors
from speechprune.training.parts import run_part

# Simulated training grows: sentences in a context, share of tokens kept, contexts in a batch, accuracy to move on.
_LEVELS = (
    ((2, 4), 0.35, 6, 0.75),
    ((4, 9), 0.35, 5, 0.8),
    ((8, 16), 0.35, 4, 0.8),
    ((14, 26), 0.4, 3, 0.8),
    ((20, 40), 0.45, 2, 2),
)
PARTS = ("tokenizer", "encoder", "reader", "tune", "export")


class _Course:
    """Simulated contexts that grow with the reader's accuracy, from ``level`` on."""

    def __init__(self, dialogues: list[Labelled], table: Tensor, packer: Packer, rng: np.random.Generator, level: int):
        self.dialogues, self.table, self.packer, self.rng = dialogues, table, packer, rng
        self.level, self.recent = min(level, len(_LEVELS) - 1), [0.0]

    def batches(self) -> Iterator[Batch | None]:
        while True:
            chosen = self.level if self.rng.random() < 0.75 else int(self.rng.integers(0, self.level + 1))
            sentences, share, size, _ = _LEVELS[chosen]
            contexts = [simulated(self.dialogues, self.table, sentences, share, self.rng) for _ in range(size)]
            yield self.packer.pack([c for c in contexts if len(c.states)], self.rng, gap=1500)

    def on_accuracy(self, value: float) -> None:
        self.recent = [*self.recent[-39:], value]
        if len(self.recent) == 40 and np.mean(self.recent) > _LEVELS[self.level][3]:
            self.level, self.recent = self.level + 1, [0.0]


def _real_batches(
    recordings: list[tuple[Labelled, np.ndarray]],
    packer: Packer,
    rng: np.random.Generator,
    steps: int,
    shares: tuple[float, float],
) -> Iterator[Batch | None]:
    """Contexts of real audio tokens; ``shares`` of whole recordings in the first 30 % of the steps, and after."""
    for number in range(steps):
        whole = rng.random() < shares[number >= steps * 0.3]
        chosen = rng.integers(len(recordings), size=1 if whole else 3)
        contexts = [real(labelled, states, whole, rng) for labelled, states in (recordings[i] for i in chosen)]
        yield packer.pack([c for c in contexts if len(c.states)], rng, gap=0 if whole else 1500)


class MiniTrainer:
    """Trains a mini model from ``data`` (sets train, train_text and dev of ``speechprune prepare``) into ``out``.

    ``out/model`` is the finished Hugging Face folder; its ``training.json`` says what each part took and reached.
    """

    def __init__(self, config: TrainConfig, data: Path, out: Path) -> None:
        self.config, self.data, self.out = config, Path(data), Path(out)
        self.out.mkdir(parents=True, exist_ok=True)

    def run(self, parts: tuple[str, ...] = PARTS) -> Path:
        """Do the missing ones of ``parts`` in order; returns the model's folder."""
        for part in parts:
            run_part(part, self.out / f"{part}.done", getattr(self, f"_{part}"))
        return self.out / "model"

    def _cuts(self, name: str) -> list[MonoCut]:
        problems: list[Problem] = []
        cuts = list(read_cuts(self.data / name / "cuts.jsonl.gz", problems))
        if problems:
            raise ValueError("\n".join(map(str, problems)))
        return cuts

    @property
    def _processor(self):
        return build_processor(self.out / "tokenizer.model", self.config.encoder.mel_bins)

    @property
    def _table(self) -> Tensor:
        return load_file(self.out / "table.safetensors")["table"]

    def _labels(self, name: str, tokenizer) -> list[Labelled]:
        return [label_cut(cut, tokenizer) for cut in tqdm(self._cuts(name), f"labels {name}", unit="rec")]

    def _tokenizer(self) -> dict:
        texts: list[str] = []
        for cut in self._cuts("train_text"):
            texts += [s.text for s in cut.supervisions]
            texts += [format_question(q["question"], q["choices"]) for q in cut.custom["questions"]]
        train_sentencepiece(texts, self.out / "tokenizer.model", self.config.tokenizer.vocab_size)
        size = len(self._processor.tokenizer)
        table = embedding_table(size, self.config.reader.hidden, self.config.seed)
        save_tensors(self.out / "table.safetensors", {"table": table})
        return {"vocabulary": size}

    def _encoder(self) -> dict:
        for name in ("train", "dev"):
            write_features(self._cuts(name), self._processor, self.out / "features" / name)
        config, table = self.config.encoder, self._table
        train_encoder(
            config, table, self.out / "features" / "train", self.out / "encoder.safetensors", self.config.seed
        )
        return {
            f"frame_accuracy_{name}": round(
                project_windows(
                    config,
                    table,
                    self.out / "encoder.safetensors",
                    self.out / "features" / name,
                    self.out / "features" / name / "states.npy",
                ),
                4,
            )
            for name in ("train", "dev")
        }

    def _new_reader(self, tokenizer) -> Reader:
        torch.manual_seed(self.config.seed)
        return Reader(build_reader(self.config.reader, self._table, tokenizer))

    def _reader(self) -> dict:
        tokenizer, table, config = self._processor.tokenizer, self._table, self.config.reader
        dialogues = self._labels("train_text", tokenizer)
        packer, reader = Packer(tokenizer, table), self._new_reader(tokenizer)
        figures: dict[str, float] = {}
        for number, steps in enumerate(config.simulated_steps):
            weights = self.out / f"reader_simulated{number}.safetensors"
            if weights.is_file():
                reader.model.load_state_dict(load_file(weights))
                continue
            course = _Course(dialogues, table, packer, np.random.default_rng(self.config.seed + number), 2 * number)
            title = f"reader, simulated {number + 1}/{len(config.simulated_steps)}"
            train_reader(reader, config, course.batches(), steps, 1.0, title, course.on_accuracy)
            save_tensors(weights, reader.model.state_dict())
            figures |= {f"level_{number}": course.level, f"accuracy_{number}": round(float(np.mean(course.recent)), 4)}
        return figures

    def _recordings(self, name: str, tokenizer) -> list[tuple[Labelled, np.ndarray]]:
        """Each recording's labels and its audio tokens (N, dim), joined from its windows."""
        folder = self.out / "features" / name
        states = np.load(folder / "states.npy", mmap_mode="r")
        counts = json.loads((folder / "windows.json").read_text(encoding="utf-8"))
        ends = np.cumsum(counts)
        return [
            (labelled, states[end - count : end].reshape(count * WINDOW, -1)[: len(labelled.pieces)])
            for labelled, end, count in zip(self._labels(name, tokenizer), ends, counts, strict=True)
        ]

    def _tune(self) -> dict:
        tokenizer, config = self._processor.tokenizer, self.config.reader
        recordings, development = (self._recordings(name, tokenizer) for name in ("train", "dev"))
        packer, reader = Packer(tokenizer, self._table), self._new_reader(tokenizer)
        last = len(config.simulated_steps) - 1
        reader.model.load_state_dict(load_file(self.out / f"reader_simulated{last}.safetensors"))
        figures = {}
        for number, steps in enumerate(config.tune_steps):
            weights = self.out / f"reader_tuned{number}.safetensors"
            if weights.is_file():
                reader.model.load_state_dict(load_file(weights))
                continue
            rng = np.random.default_rng(self.config.seed + 1 + number)
            # Crops first, which are quick; whole recordings once the reader knows what to do with them.
            shares = (0.1, 0.35) if number == 0 else (0.5, 0.5)
            batches = _real_batches(recordings, packer, rng, steps, shares)
            title = f"reader, real audio tokens {number + 1}/{len(config.tune_steps)}"
            train_reader(reader, config, batches, steps, 0.6, title)
            save_tensors(weights, reader.model.state_dict())
            figures[f"round_{number}"] = self._accuracy(reader, packer, development)
        save_tensors(self.out / "reader.safetensors", reader.model.state_dict())
        return figures

    @torch.inference_mode()
    def _accuracy(self, reader: Reader, packer: Packer, recordings: list[tuple[Labelled, np.ndarray]]) -> dict:
        """Accuracy over whole recordings, choices given and not."""
        rng = np.random.default_rng(0)
        right: dict[bool, list[bool]] = {True: [], False: []}
        for labelled, states in tqdm(recordings, "dev", unit="rec"):
            batch = packer.pack([real(labelled, states, True, rng)], rng, gap=0)
            if batch is None:
                continue
            for kind, ok in zip(batch.is_letter, reader(batch).argmax(-1) == torch.tensor(batch.targets), strict=True):
                right[kind].append(bool(ok))
        return {
            "dev_letters": round(float(np.mean(right[True])), 4),
            "dev_open": round(float(np.mean(right[False])), 4),
            "dev_questions": len(right[True]) + len(right[False]),
        }

    def _export(self) -> dict:
        """Assemble the stock Qwen2AudioForConditionalGeneration; float16 weights, processor, sentencepiece model."""
        processor, config = self._processor, self.config
        encoder = Encoder(config.encoder, config.reader.hidden)
        encoder.load_state_dict(load_file(self.out / "encoder.safetensors"))
        reader = build_reader(config.reader, self._table, processor.tokenizer)
        reader.load_state_dict(load_file(self.out / "reader.safetensors"))
        model = Qwen2AudioForConditionalGeneration(
            Qwen2AudioConfig(
                audio_config=encoder.tower.config.to_dict(),
                text_config=reader.config.to_dict(),
                audio_token_id=processor.tokenizer.convert_tokens_to_ids(AUDIO),
                tie_word_embeddings=False,
            )
        )
        model.model.audio_tower.load_state_dict(encoder.tower.state_dict())
        model.model.multi_modal_projector.linear.load_state_dict(encoder.projector.state_dict())
        model.model.language_model.load_state_dict(reader.state_dict())
        # The reader's output matrix is its input table; the stock class keeps two, so it gets a copy.
        model.lm_head.weight.data.copy_(self._table)
        folder = self.out / "model"
        model.half().save_pretrained(folder)
        processor.save_pretrained(folder)
        (folder / "tokenizer.model").write_bytes((self.out / "tokenizer.model").read_bytes())
        parts = {p: json.loads((self.out / f"{p}.done").read_text(encoding="utf-8")) for p in PARTS[:-1]}
        with atomic_write(folder / "training.json") as handle:
            json.dump({"config": dataclasses.asdict(config), "parts": parts}, handle, indent=2)
        return {"parameters": sum(p.numel() for p in model.parameters())}
