"""Commands that make speech LLMs: the mini model from nothing, others of published parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from speechprune.cli.base import PATH, command, with_job

if TYPE_CHECKING:
    from speechprune.common.files import Shard

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_encoder = click.option("--encoder", required=True, metavar="NAME", help="A Whisper: hub name or folder.")
_llm = click.option("--llm", required=True, metavar="NAME", help="A causal LLM: hub name or folder.")


@command
@click.argument("data", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML; defaults stand in speechprune/training/mini/config.py.",
)
@click.option("--part", "parts", multiple=True, help="Only this part; may be given several times.")
def train_mini(data: Path, out: Path, config: Path | None, parts: tuple[str, ...]) -> None:
    """Train a mini speech LLM on DATA (prepared sets train, train_text, dev); OUT/model is the result."""
    from speechprune.training.mini.config import TrainConfig
    from speechprune.training.mini.train import PARTS, MiniTrainer
    from speechprune.training.settings import read_settings

    if unknown := [part for part in parts if part not in PARTS]:
        raise ValueError(f"unknown part {unknown[0]!r}; choose from: {', '.join(PARTS)}")
    settings = read_settings(TrainConfig, config) if config else TrainConfig()
    MiniTrainer(settings, data, out).run(parts or PARTS)


@command
@click.argument("out", type=PATH)
@_encoder
@_llm
@click.option("--config", type=_FILE, help="YAML; defaults stand in speechprune/training/composed/config.py.")
@click.option("--text", "texts", multiple=True, type=_FILE, help="Sentences to speak; may be given several times.")
@click.option("--voices", type=_FILE, help="Names of the voices to choose from, one a line; by default all.")
@click.option("--from-delta", "start", type=PATH, help="A delta of these parts that alignment and reading go on from.")
@click.option("--part", "parts", multiple=True, help="Only this part; may be given several times.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@with_job
def train_composed(
    out: Path,
    encoder: str,
    llm: str,
    config: Path | None,
    texts: tuple[Path, ...],
    voices: Path | None,
    start: Path | None,
    parts: tuple[str, ...],
    device: str,
    shard: Shard,
) -> None:
    """Train what joins a Whisper and an LLM; OUT/model is the speech LLM, OUT/delta what was trained.

    Parts: text, speech, align, read, export. --job shares the part speech out.
    """
    from speechprune.training.composed.config import ComposeConfig
    from speechprune.training.composed.train import PARTS, Composer
    from speechprune.training.settings import read_settings

    if unknown := [part for part in parts if part not in PARTS]:
        raise ValueError(f"unknown part {unknown[0]!r}; choose from: {', '.join(PARTS)}")
    settings = read_settings(ComposeConfig, config) if config else ComposeConfig()
    Composer(settings, encoder, llm, out, texts, voices, device, start).run(parts or PARTS, shard)


@command
@click.argument("out", type=PATH)
@click.option("--delta", required=True, type=PATH, help="Folder of what was trained.")
@_encoder
@_llm
def compose(out: Path, delta: Path, encoder: str, llm: str) -> None:
    """Put a delta onto the parts it was trained on: OUT is then a speech LLM that transformers loads."""
    from speechprune.training.composed.delta import compose as put_together

    put_together(delta, encoder, llm, out)
