"""Settings of a composition, as a YAML file holds them; every default stands here."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

# Six of these are mini_sir's test voices, so that its test set stays one of voices never heard.
HELD_OUT = ("m5", "f5", "belinda", "Michael", "Reed", "anika", "steph2", "benjamin")


@dataclass(frozen=True)
class TextConfig:
    """What is spoken.

    Attributes:
        llm_words: words that the LLM writes, ``batch`` texts at once of at most ``max_new_tokens`` each.
        random_words: share of utterances without sense.
        exchanged: share of a sentence's words that random ones take the place of, so that no sentence is learnt by heart.
        dialogues: share of recordings that are dialogues with questions, written by a grammar.
    """

    llm_words: int = 400_000
    batch: int = 48
    max_new_tokens: int = 200
    random_words: float = 0.3
    exchanged: float = 0.1
    dialogues: float = 0.15


@dataclass(frozen=True)
class SpeechConfig:
    """Whose voices, how much, and where the tower's states are taken.

    Attributes:
        engine: of ``speechprune.tts``.
        max_wer: voices that Whisper itself hears worse than this are left out.
        held_out: names of voices, without the engine's prefix, that only speak the development set.
        hours, dev_hours: of speech.
        unfrozen: so many of the tower's last layers are trained; the states in front of them are stored.
    """

    engine: str = "espeak"
    max_wer: float = 0.2
    held_out: tuple[str, ...] = HELD_OUT
    hours: float = 100.0
    dev_hours: float = 0.5
    unfrozen: int = 1


@dataclass(frozen=True)
class AlignConfig:
    """New layers on the tower, and how they are trained. A step hears ``batch * crop_seconds`` s of speech."""

    new_layers: int = 1
    steps: int = 12_000
    batch: int = 10
    crop_seconds: float = 8.0
    full_windows: float = 0.15
    lr: float = 1e-3
    sampled: int = 3_000
    silence_weight: float = 0.3
    checkpoint_minutes: float = 2.0


@dataclass(frozen=True)
class ReadConfig:
    """LoRA on the LLM. A step reads at most ``tokens`` positions."""

    rank: int = 16
    steps: int = 3_000
    tokens: int = 1_600
    lr: float = 5e-4
    thinned: float = 0.3
    checkpoint_minutes: float = 2.0


@dataclass(frozen=True)
class ComposeConfig:
    seed: int = 0
    text: TextConfig = field(default_factory=TextConfig)
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    read: ReadConfig = field(default_factory=ReadConfig)

    @classmethod
    def from_yaml(cls, path: Path) -> ComposeConfig:
        """ValueError for anything that is no setting."""
        try:
            return _fill(cls, yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        except (ValueError, TypeError, yaml.YAMLError) as error:
            raise ValueError(f"{path}: {error}") from error


def _fill(kind: type, values: Any) -> Any:
    known = get_type_hints(kind)
    names = [f.name for f in fields(kind)]
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__}: {values!r}, expected a mapping of {', '.join(names)}")
    if unknown := [name for name in values if name not in names]:
        raise ValueError(f"unknown setting {unknown[0]!r}; choose from: {', '.join(names)}")
    nested = {name: _fill(known[name], value) for name, value in values.items() if is_dataclass(known[name])}
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()} | nested)
