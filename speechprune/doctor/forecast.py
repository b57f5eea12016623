"""What an experiment will take, before anything is fetched, made or loaded: the body of ``speechprune forecast``."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from speechprune.common.defaults import TEXT_TOKENS
from speechprune.common.markdown import aligned_table
from speechprune.common.reading import read_json
from speechprune.costs.count import prefill_flop, pruner_flop
from speechprune.costs.outline import Outline, outline
from speechprune.data.cuts import read_cuts
from speechprune.decoding.cascade import Cascade
from speechprune.decoding.chunks import Chunks
from speechprune.decoding.systems import System, load_config
from speechprune.doctor.findings import size
from speechprune.pruners import Pruner
from speechprune.pruners.speechprune import SpeechPrune
from speechprune.scoring.published import Size, published

# FLOP a second of the only published measurement: Table I's 779 ms for 857 tokens of Qwen2-Audio-7B, without lm_head on
# all positions, with attention (docs/costs.md), on a Quadro RTX 6000.
PAPER_SPEED = 11.486e12 / 0.779


@dataclass(frozen=True)
class Row:
    """One system: what it reads of a recording, and what all questions together take.

    Attributes:
        system, rate: which.
        tokens: audio tokens that a question's prefill reads.
        prefill_tokens: over all questions, text included. flop: of these prefills and of what the pruner adds.
    """

    system: str
    rate: float | None
    tokens: int
    prefill_tokens: int
    flop: int


def forecast(model: str, config: Path, corpus: str, name: str, data: Path, speed: float, source: str) -> dict:
    """Count what stages 2 and 3 will do.

    Args:
        model: "mini", a folder (config.json is enough) or a hub name.
        config: a decode configuration.
        corpus, name: the set; its size is that of ``data``/<set>/cuts.jsonl.gz, or where that is not there, as printed.
        speed: FLOP a second; source: where that number comes from.
    Returns:
        {model, set, counted: where the size comes from, recordings, questions, hours_of_audio, systems: fields of
        ``Row``, prefill_tokens, windows, encoder_flop, flop, speed, source, hours, dump_bytes, as_published,
        not_counted: systems whose transcripts are not}. Every question is counted by itself: those that read the same
        audio share it, so that less is done. 1 FLOP is a multiplication or an addition, as in docs/costs.md.
    Raises:
        ValueError: a model that cannot be counted, or a set of which nothing is known.
        FileNotFoundError: no configuration, or no model.
    """
    about, systems = outline(model), load_config(config).systems
    counted, found = _size(corpus, name, data)
    total = about.audio_tokens(found.seconds)
    rows = [_row(system, about, found, total) for system in systems]
    windows = found.recordings * math.ceil(found.seconds / about.encoder.seconds)
    encoder = windows * (about.encoder.encoder_flop + about.encoder.projector_flop)
    flop = encoder + sum(row.flop for row in rows)
    return {
        "model": model,
        "set": f"{corpus} {name}",
        "counted": counted,
        **asdict(found),
        "hours_of_audio": found.recordings * found.seconds / 3600,
        "systems": [asdict(row) for row in rows],
        "prefill_tokens": sum(row.prefill_tokens for row in rows),
        "windows": windows,
        "encoder_flop": encoder,
        "flop": flop,
        "speed": speed,
        "source": source,
        "hours": flop / speed / 3600,
        "dump_bytes": found.recordings * about.dump_bytes(found.seconds),
        "as_published": about.as_published,
        "not_counted": [system.name for system in systems if isinstance(system.pruner, Cascade)],
    }


def _size(corpus: str, name: str, data: Path) -> tuple[str, Size]:
    file = data / name / "cuts.jsonl.gz"
    if file.is_file():
        cuts = [(cut.duration, len((cut.custom or {}).get("questions", []))) for cut in read_cuts(file, [])]
        if cuts:
            seconds = sum(duration for duration, _ in cuts) / len(cuts)
            return str(file), Size(len(cuts), sum(asked for _, asked in cuts), seconds)
    about = published(corpus, name)
    if about is None or about.size is None:
        raise ValueError(f"{file} is not there, and nothing is printed about the size of {corpus} {name}; prepare it")
    return "as published", about.size


def _row(system: System, about: Outline, found: Size, total: int) -> Row:
    window = about.encoder.tokens
    keep = window if system.rate is None else max(1, round(window * (1 - system.rate)))
    tokens = _read(system, total, keep, window)
    asked = found.questions * (4 if system.permute == "cyclic" else 1)  # of four choices, a rotation each
    flop = asked * (sum(prefill_flop(about.decoder, tokens + TEXT_TOKENS)) + _choosing(system, about, total, keep))
    return Row(system.name, system.rate, tokens, asked * (tokens + TEXT_TOKENS), flop)


def _read(system: System, total: int, keep: int, window: int) -> int:
    """Audio tokens in a prompt; the few tokens of text between chunks are left out."""
    method = system.pruner
    if system.audio == "none" or isinstance(method, Cascade):
        return 0
    if isinstance(method, Chunks):
        return total
    return min(total, method.left(total, keep, window) if isinstance(method, Pruner) else keep)


def _choosing(system: System, about: Outline, total: int, keep: int) -> int:
    """FLOP that the choice of a question's tokens adds: SpeechPrune's own, and first passes of the LLM's layers."""
    method, shape, window = system.pruner, about.decoder, about.encoder.tokens
    if not isinstance(method, Pruner):
        return 0
    flop = sum(pruner_flop(shape, total, window, keep)) if isinstance(method, SpeechPrune) else 0
    for layers, tokens in method.first_passes(total, keep, window):
        decoder, attention, _ = prefill_flop(shape, tokens + TEXT_TOKENS)
        flop += layers * (decoder + attention) // shape.layers
    return flop


def measured_speed(file: Path) -> tuple[float, str]:
    """(FLOP a second, where from) of what ``make gpu`` wrote: Original's prefill in the largest batch.

    Raises:
        FileNotFoundError, ValueError: no such file, or no prefill in it.
    """
    content = read_json(file, way_out="run make gpu again")
    rows = content.get("parts", {}).get("prefill", {}).get("rows", [])
    timed = [row for row in rows if "time" in row and row["rate"] is None]
    if not timed:
        raise ValueError(f"{file}: no prefill was measured; run make gpu on a machine with a GPU")
    last = timed[-1]
    decoder = outline("Qwen/Qwen2-Audio-7B-Instruct").decoder
    flop = last["batch"] * sum(prefill_flop(decoder, last["tokens"]))
    return flop / last["time"]["median_seconds"], f"measured on {content['machine']['gpu']}, {file}"


def format_forecast(found: dict) -> str:
    """Markdown: a table of the systems, and what all of it takes."""
    rows = [
        [
            row["system"],
            "-" if row["rate"] is None else f"{row['rate']:g}",
            f"{row['tokens']:,}",
            f"{row['prefill_tokens'] / 1e6:,.2f} M",
            f"{row['flop'] / 1e15:,.2f}",
        ]
        for row in found["systems"]
    ]
    table = aligned_table(["system", "PR", "audio tokens", "prefill tokens", "PFLOP"], rows)
    sizes = "; sizes of the model as published" if found["as_published"] else ""
    lines = [
        f"{found['model']} on {found['set']} ({found['counted']}{sizes}): {found['recordings']:,} recordings, "
        f"{found['hours_of_audio']:,.1f} h of audio, {found['questions']:,} questions",
        table,
        f"Together: {found['prefill_tokens'] / 1e6:,.2f} M prefill tokens at most; {found['windows']:,} windows to "
        f"encode ({found['encoder_flop'] / 1e15:,.2f} PFLOP); {found['flop'] / 1e15:,.2f} PFLOP in all.",
        f"About {found['hours']:,.2f} h at {found['speed'] / 1e12:,.1f} TFLOP/s ({found['source']}); "
        f"{size(found['dump_bytes'])} of disk for stage 2.",
    ]
    if found["not_counted"]:
        lines.append(f"Not counted: the transcripts that {', '.join(found['not_counted'])} read in place of audio.")
    return "\n\n".join(lines)
