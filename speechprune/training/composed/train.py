"""From two published parts to a speech LLM: text, speech, alignment, reading, export."""

from __future__ import annotations

import hashlib
import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase, WhisperFeatureExtractor

from speechprune.common.extras import require
from speechprune.common.files import Shard
from speechprune.common.reading import read_json
from speechprune.models.loading import pick_device
from speechprune.training.composed import align, pair, read, text
from speechprune.training.composed.config import ComposeConfig
from speechprune.training.composed.delta import (
    compose,
    known,
    new_upper,
    put_back,
    quantise,
    read_facts,
    read_updates,
    read_upper,
    unpack,
    upper_delta,
    write_delta,
)
from speechprune.training.composed.ensemble import Ensemble
from speechprune.training.composed.labels import Labeller
from speechprune.training.composed.points import write_points
from speechprune.training.composed.prompting import Prompter, with_audio_token
from speechprune.training.composed.speech import Studio
from speechprune.training.composed.states import Listener, Row, Store, check_disk, read_rows, store
from speechprune.training.composed.tower import Upper, build_tower
from speechprune.training.optimisation import quick_dtype
from speechprune.training.parts import keep_settings, run_part
from speechprune.tts import get_engine

PARTS = ("text", "speech", "align", "read", "export")
_MODULES = ("wordfreq", "jiwer", "whisper_normalizer", "peft")  # before hours of work, not in the midst of it


class Composer:
    """Makes ``out/model``, which transformers loads, and ``out/delta``, from ``encoder`` and ``llm``.

    Args:
        encoder, llm: hub names or folders.
        out: gets everything; what is there is not made again, so a killed run goes on where it was.
        texts: files to speak besides random words and what the LLM writes; ``.txt``, passages between blank lines.
        voices_file: names of the voices to choose from; None: all of the engine's.
        device: "auto", "cpu", "cuda", ..
        start: folder of a delta of these parts that alignment and reading go on from; None: they begin anew.
    """

    def __init__(
        self,
        config: ComposeConfig,
        encoder: str,
        llm: str,
        out: Path,
        texts: Sequence[Path] = (),
        voices_file: Path | None = None,
        device: str = "auto",
        start: Path | None = None,
    ) -> None:
        for module in _MODULES:
            require(module)
        self.config, self.out = config, Path(out)
        self._names = {"encoder": encoder, "llm": llm}
        self._encoder, self._llm = pair.open_encoder(encoder), pair.open_llm(llm)
        self._texts, self._voices_file = list(texts), voices_file
        self._device, self._start = pick_device(device), start
        self._extractor = WhisperFeatureExtractor.from_pretrained(self._encoder.path)
        self._window_seconds = self._extractor.n_samples / self._extractor.sampling_rate

    def run(self, names: Sequence[str] = PARTS, shard: Shard | None = None) -> None:
        """Do ``names``; ``shard``: this job's share, of the part "speech" alone."""
        for name in names:
            keep_settings(self.out / f"{name}.settings.json", self._settings(name))
            if name == "speech":
                self._speech(shard or Shard(1, 1))
            else:
                run_part(name, self.out / f"{name}.done", getattr(self, f"_{name}"))

    def _settings(self, name: str) -> dict:
        """What the part depends on; hours may be added to what is there."""
        config = asdict(self.config)
        measured = {key: config["speech"].pop(key) for key in ("hours", "dev_hours")}
        others = {get_engine(spec).identity: hours for spec, hours in config["speech"].pop("others").items()}
        known = {"seed": self.config.seed, "encoder": self._fingerprints["encoder"]}
        if name in ("text", "speech"):
            trains = {"others_train": {name: hours > 0 for name, hours in others.items()}} if others else {}
            return known | trains | {key: config[key] for key in ("text", "speech")}
        if others:
            measured["others"] = others
        sections = {key: config[key] for key in PARTS[2 : PARTS.index(name) + 1] if key in config}
        for section in sections.values():
            section.pop("checkpoint_minutes")
        start = (
            hashlib.sha256((self._start / "delta.safetensors").read_bytes()).hexdigest()[:16] if self._start else None
        )
        return known | {"llm": self._fingerprints["llm"], "start": start, **measured, **sections}

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        return {"encoder": self._encoder.fingerprint(), "llm": self._llm.fingerprint()}

    def _text(self) -> dict:
        self._ensemble.choose(self._encoder.path, self._voices_file)
        if self.config.text.llm_words:
            llm, tokenizer = pair.load_llm(self._llm)
            llm.to(self._device, quick_dtype(self._device))
            text.write_passages(llm, tokenizer, self._passages, self.config.text, self.config.seed)
        casts = self._ensemble.casts.values()
        return {"voices": sum(len(c.train) for c in casts), "voices_held_out": sum(len(c.held_out) for c in casts)}

    @cached_property
    def _ensemble(self) -> Ensemble:
        return Ensemble(self.config.speech, self.out / "voices.json")

    @property
    def _passages(self) -> Path:
        return self.out / "text" / "llm.jsonl"

    def _speech(self, shard: Shard) -> None:
        config, folder = self.config.speech, self.out / "speech"
        folder.mkdir(parents=True, exist_ok=True)
        files = [*self._texts, *([self._passages] if self._passages.is_file() else [])]
        tower, sets = build_tower(self._encoder.path, 0), list(self._ensemble.sets())
        check_disk(folder, sum(one.hours for one in sets), tower)
        listener = Listener(tower.to(self._device), self._extractor, len(tower.layers) - config.unfrozen)
        for one in sets:
            passages = text.read_passages(files, one.part == "dev")
            seed = f"{self.config.seed}/{one.name}" if one.says_its_own else self.config.seed
            studio = Studio(one.part, one.engine, one.voices, passages, self.config.text, seed)
            store(studio, listener, folder, one.name, one.hours, shard)

    def _rows(self, name: str) -> list[Row]:
        return read_rows(self.out / "speech", name, self._window_seconds)

    @cached_property
    def _store(self) -> Store:
        return Store(self.out / "speech")

    def _new_upper(self, dim: int) -> Upper:
        torch.manual_seed(self.config.seed)
        tower = build_tower(self._encoder.path, self.config.align.new_layers)
        return new_upper(tower, self.config.speech.unfrozen, self.config.align.new_layers, dim)

    def _align(self) -> dict:
        config, folder = self.config.align, self.out / "align"
        folder.mkdir(parents=True, exist_ok=True)
        llm, tokenizer = pair.load_llm(self._llm)
        table, labeller = self._table(llm), Labeller(tokenizer)
        spoken = [align.label_rows(self._rows(name), labeller) for name in self._ensemble.training.values()]
        points = []
        for share in config.points:
            chosen = [item for data in spoken for item in data[: max(1, round(share * len(data)))]]
            hours = sum(len(item.pieces) for item in chosen) / align.FRAME_RATE / 3600
            steps = math.ceil(config.passes * hours * 3600 / (config.batch * config.crop_seconds))
            upper, out = self._new_upper(len(table.mean)), folder / f"{share:g}.safetensors"
            if self._start:
                self._go_on(self._start, upper, llm, tokenizer)
            if out.is_file():
                upper.load_state_dict(load_file(out))
            else:
                pieces = np.concatenate([item.pieces for item in chosen])
                counts = torch.bincount(torch.from_numpy(pieces).long(), minlength=len(table.unit)).float()
                counts[labeller.silence] = 0
                aligner = align.Aligner(upper, table, counts, labeller.silence, config).to(self._device)
                align.train(aligner, chosen, self._store, steps, self.config.seed, out, f"align, {hours:.1f} h")
            heard = self._accuracy(upper, table, labeller)
            for name in self._ensemble.others:
                heard[name] = self._accuracy(upper, table, labeller, self._ensemble.set_name("dev", name))["speech"]
            points.append({"hours": round(hours, 2), "steps": steps, **heard})
            write_points(folder, points)
        last = points[-1]
        kept = {"hours": "hours", "steps": "steps", "frame_accuracy": "speech", "of_tokens": "tokens"}
        others = {f"frame_accuracy_of_{name}": last[name] for name in self._ensemble.others}
        return {name: last[key] for name, key in kept.items()} | others

    def _go_on(self, start: Path, upper: Upper, llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Make ``upper`` that of the delta ``start``. ValueError where it has other layers."""
        facts = read_facts(start, self._encoder, self._llm, llm, tokenizer)
        wanted = {"unfrozen": self.config.speech.unfrozen, "new_layers": self.config.align.new_layers}
        if different := {key: facts[key] for key, value in wanted.items() if facts[key] != value}:
            raise ValueError(f"{start}: its layers are {different}, the configuration says {wanted}; change that")
        put_back(upper, read_upper(start), facts)

    def _table(self, llm: PreTrainedModel) -> align.Table:
        with torch.no_grad():  # as the LLM's layers see them: some LLMs scale their embeddings
            return align.Table(llm.get_input_embeddings()(torch.arange(llm.config.vocab_size))).to(self._device)

    def _accuracy(self, upper: Upper, table: align.Table, labeller: Labeller, name: str = "dev") -> dict:
        dev = align.label_rows(self._rows(name), labeller)
        return align.frame_accuracy(upper.to(self._device), table, dev, self._store, labeller.silence)

    @property
    def _aligned(self) -> Path:
        return self.out / "align" / f"{self.config.align.points[-1]:g}.safetensors"

    def _read(self) -> dict:
        llm, tokenizer = pair.load_llm(self._llm)
        upper = self._new_upper(llm.get_input_embeddings().weight.shape[1])
        upper.load_state_dict(load_file(self._aligned))
        torch.manual_seed(self.config.seed)
        ears = read.Ears(upper, self._store, trained=self.config.read.encoder_lr > 0)
        reader = read.Reader(llm, Prompter(with_audio_token(tokenizer)), ears, self.config.read.rank).to(self._device)
        out, seed = self.out / "read.safetensors", self.config.seed
        if out.is_file():
            read.load_reader(reader, out)
        else:
            rows = [row for name in self._ensemble.training.values() for row in self._rows(name)]
            if self._start:
                read.go_on(reader, read_updates(self._start), str(self._start))
            read.train_reader(reader, rows, self.config.read, seed, out)
        count = self.config.read.dev_tasks
        reached = read.evaluate(reader, self._rows("dev"), count, seed)
        reached |= read.evaluate(reader, self._rows("dev"), count, seed, "_of_text")
        for name in self._ensemble.others:
            reached |= read.evaluate(
                reader, self._rows(self._ensemble.set_name("dev", name)), count, seed, f"_of_{name}"
            )
        return reached

    def _export(self) -> dict:
        """The delta first, then the model of it, so that both are the same model."""
        llm, tokenizer = pair.load_llm(self._llm)
        fresh = self._new_upper(llm.get_input_embeddings().weight.shape[1])
        trained, before = load_file(self._aligned), known(fresh, self.config.align.new_layers)
        updates: dict[str, torch.Tensor] = {}
        if (reading := self.out / "read.safetensors").is_file():
            updates, heard = read.split_weights(reading)
            trained |= heard
        facts: dict = {
            "encoder": pair.describe_encoder(self._encoder, build_tower(self._encoder.path, 0)),
            "llm": pair.describe_llm(self._llm, llm, tokenizer),
            "unfrozen": self.config.speech.unfrozen,
            "new_layers": self.config.align.new_layers,
            "training": self._training(),
        }
        put_back(fresh, unpack(quantise(upper_delta(trained, before))), facts)
        accuracy = self._accuracy(fresh, self._table(llm), Labeller(tokenizer))["speech"]
        facts["training"]["align"]["frame_accuracy_in_8_bits"] = accuracy
        write_delta(self.out / "delta", trained, before, updates, facts)
        shutil.rmtree(self.out / "model", ignore_errors=True)  # a killed run's
        compose(self.out / "delta", **self._names, out=self.out / "model")
        return {"frame_accuracy_in_8_bits": accuracy}

    def _training(self) -> dict:
        """What the card says of how it was made."""
        casts, spoken = self._ensemble.casts.values(), self._ensemble.training.items()
        hours = {engine: sum(row.duration for row in self._rows(name)) / 3600 for engine, name in spoken}
        reading = self.out / "read.done"
        if not reading.is_file():
            logging.warning("the LLM has not learnt to read audio tokens (part read); the card will say so")
        return {
            "note": self.config.note,
            "seed": self.config.seed,
            "began_with": read_json(self._start / "delta.json")["training"]["data"] if self._start else None,
            "data": {
                "hours_of_speech": round(sum(hours.values()), 1),
                "engine": ", ".join(f"{name} ({count:.1f} h)" for name, count in hours.items()),
                "voices": sum(len(cast.train) for cast in casts),
                "voices_held_out": ", ".join(name for cast in casts for name in cast.held_out),
                "words_written_by_the_LLM": self.config.text.llm_words,
                "share_of_utterances_that_are_random_words": self.config.text.random_words,
                "share_of_words_exchanged_in_sentences": self.config.text.exchanged,
                "share_of_recordings_that_are_dialogues": self.config.text.dialogues,
            },
            "align": read_json(self.out / "align.done"),
            "read": read_json(reading) | asdict(self.config.read) if reading.is_file() else {},
        }
