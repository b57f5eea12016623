"""The engines that speak for a composition: whose voices are for what, and which sets they make."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from speechprune.common.files import atomic_write
from speechprune.common.reading import read_json
from speechprune.training.composed.config import SpeechConfig
from speechprune.training.composed.voices import Cast, choose_voices
from speechprune.tts import TTSEngine, get_engine, read_names


@dataclass(frozen=True)
class SpokenSet:
    """What one engine speaks: ``part`` "train" or "dev", by ``voices``."""

    name: str
    part: str
    engine: TTSEngine
    voices: tuple[str, ...]
    hours: float

    @property
    def says_its_own(self) -> bool:
        """Whether its sentences are others than those of the first engine's set: in training more of them help, on the
        development set the same make engines comparable."""
        return self.part == "train" and self.name != self.part


class Ensemble:
    """``config.engine`` and ``config.others``.

    Args:
        path: of ``voices.json``, which ``choose`` writes.
    Raises:
        ValueError: an engine is named twice, or there is none of a name.
    """

    def __init__(self, config: SpeechConfig, path: Path) -> None:
        self._config, self._path = config, path
        self._hours = {config.engine: config.hours, **config.others}
        specs = [config.engine, *config.others]
        names = [spec.partition(":")[0] for spec in specs]
        if len(set(names)) < len(names):
            raise ValueError(f"speech.others: {', '.join(names)}; give each engine once, beside speech.engine")
        self.engines = {spec: get_engine(spec) for spec in specs}
        self.others = names[1:]

    def set_name(self, part: str, engine: str) -> str:
        """Of what the engine of this name speaks for ``part``, "train" or "dev"."""
        return f"{part}-{engine}" if engine in self.others else part

    @property
    def training(self) -> dict[str, str]:
        """{engine's name: its training set} of all that have one."""
        names = [engine.name for spec, engine in self.engines.items() if self._hours[spec]]
        return {name: self.set_name("train", name) for name in names}

    def choose(self, whisper: Path, names: Path | None) -> None:
        """Let ``whisper`` hear every voice, and write who is for what.

        Args:
            names: file of the first engine's voices to choose from; None: all.
        Raises:
            ValueError: as ``choose_voices`` and ``read_names``.
        """
        casts, config = {}, self._config
        for spec, engine in self.engines.items():
            choice = engine.voices()
            if names and spec == config.engine:
                choice = read_names(names, choice)
            held_out = config.held_out if self._hours[spec] else [voice.name for voice in choice]
            cast = choose_voices(engine, choice, whisper, config.max_wer, held_out, trains=self._hours[spec] > 0)
            casts[engine.name] = asdict(cast)
        with atomic_write(self._path) as handle:
            json.dump(casts, handle, indent=1)

    @cached_property
    def casts(self) -> dict[str, Cast]:
        """{engine's name: its voices}. ValueError where those of an engine have not been chosen."""
        found = read_json(self._path)
        if missing := [engine.name for engine in self.engines.values() if engine.name not in found]:
            raise ValueError(f"{self._path}: no voices of {missing[0]}; choose them first (stage 0)")
        return {engine.name: Cast.of(found[engine.name]) for engine in self.engines.values()}

    def sets(self) -> Iterator[SpokenSet]:
        """Development sets first, which say early what is wrong."""
        for part in ("dev", "train"):
            for spec, engine in self.engines.items():
                cast, hours = self.casts[engine.name], self._config.dev_hours if part == "dev" else self._hours[spec]
                voices = cast.held_out if part == "dev" else cast.train
                if hours:
                    yield SpokenSet(self.set_name(part, engine.name), part, engine, voices, hours)
