"""How a composition is made; every default stands here."""

from __future__ import annotations

from dataclasses import dataclass, field

# Of espeak, six of them mini_sir's test voices, so that its test set stays one of voices never heard; and of Kokoro.
HELD_OUT = (
    *("m5", "f5", "belinda", "Michael", "Reed", "anika", "steph2", "benjamin"),
    *("af_nova", "af_sky", "am_eric", "am_puck", "bf_emma", "bf_lily", "bm_daniel", "bm_george"),
)


@dataclass(frozen=True)
class TextConfig:
    """What is spoken.

    Attributes:
        llm_words: words that the LLM writes, ``batch`` texts at once of at most ``max_new_tokens`` each.
        random_words: share of utterances without sense.
        exchanged: share of a sentence's words that random ones take the place of, lest it is learnt by heart.
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
        held_out: names of voices, without the engine's prefix, that only speak the development sets.
        hours, dev_hours: of speech.
        others: {engine: hours that it adds to the training}. Each also speaks the development set once more; one of 0
            hours with all its voices, for how well is heard what never was in training.
        unfrozen: so many of the tower's last layers are trained; the states in front of them are stored.
    """

    engine: str = "espeak"
    max_wer: float = 0.2
    held_out: tuple[str, ...] = HELD_OUT
    hours: float = 100.0
    dev_hours: float = 0.5
    others: dict[str, float] = field(default_factory=dict)
    unfrozen: int = 1


@dataclass(frozen=True)
class AlignConfig:
    """New layers on the tower, and how they are trained.

    Attributes:
        new_layers: behind the tower's own; of its class.
        passes: over the stored speech; a step hears ``batch * crop_seconds`` of it.
        points: shares of the speech to train on, each from the beginning, for accuracy against hours; 1 comes last.
        full_windows: share of the steps, the last ones, that hear whole windows.
        sampled: pieces of the vocabulary that a step tells from those of its batch.
        silence_weight: of a token in a pause, where one of speech has 1.
    """

    new_layers: int = 1
    passes: float = 2.0
    points: tuple[float, ...] = (0.0625, 0.25, 1.0)
    batch: int = 10
    crop_seconds: float = 8.0
    full_windows: float = 0.15
    lr: float = 1.5e-3
    sampled: int = 3_000
    silence_weight: float = 0.3
    checkpoint_minutes: float = 2.0


@dataclass(frozen=True)
class ReadConfig:
    """LoRA on the LLM.

    Attributes:
        rank: of the updates.
        encoder_lr: for the encoder's layers that alignment trained, which go on learning; 0 leaves them as they are.
        tokens: audio tokens that a step reads.
        dev_tasks: of each kind, that the result is judged by.
        thinned: share of the steps whose sequences lose tokens at random, which favours pruning at random.
    """

    rank: int = 16
    steps: int = 3_000
    tokens: int = 1_600
    lr: float = 5e-4
    encoder_lr: float = 1e-4
    thinned: float = 0.3
    dev_tasks: int = 40
    checkpoint_minutes: float = 2.0


@dataclass(frozen=True)
class ComposeConfig:
    """``note``: a sentence for the card, about what no program can know."""

    seed: int = 0
    note: str = ""
    text: TextConfig = field(default_factory=TextConfig)
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    read: ReadConfig = field(default_factory=ReadConfig)
