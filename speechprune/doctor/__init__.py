"""The body of ``speechprune doctor``: what a run will need, looked for before hours are spent on it.

No weights are loaded, and what does not answer (a hub, a driver) is waited for some seconds, not minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechprune.doctor.findings import Finding
from speechprune.doctor.machine import attention, disk, extras, processors, slurm
from speechprune.doctor.memory import fits
from speechprune.doctor.sources import corpora_found, is_hub_name, known, model_found

WORDS = {"ok": "ok", "note": "note", "missing": "MISSING"}


@dataclass(frozen=True)
class Chosen:
    """How the model is to run, as the options of ``speechprune decode`` say it; None: not given."""

    model: str
    device: str = "auto"
    dtype: str = "auto"
    attention: str | None = None
    device_map: str | None = None
    quantize: str | None = None


def examine(chosen: Chosen, config: Path | None, folder: Path, ask: Callable[[], Finding] | None) -> list[Finding]:
    """Look at machine, model and data.

    Args:
        chosen: the model and how it runs.
        config: a decode configuration, for its ``batch_tokens``.
        folder: where downloads/, data/, dump/ and exp/ are, or will be.
        ask: asks one question, where that is wanted too; it is asked only if nothing is missing.
    Raises:
        ValueError, FileNotFoundError: a configuration that cannot be read, or an unknown device or dtype.
    """
    about = known(chosen.model)
    found = [
        *processors(),
        *model_found(chosen.model, about),
        *fits(about, chosen, config),
        attention(chosen.attention),
    ]
    found += [*disk(about, is_hub_name(chosen.model), folder), *corpora_found(folder), slurm(), *extras(chosen)]
    if ask is not None:
        missing = any(finding.status == "missing" for finding in found)
        found.append(Finding("ask", "note", "not asked: something is missing", "see above") if missing else ask())
    return found


def format_findings(found: Sequence[Finding]) -> str:
    """A line for each, what to do about it below."""
    wide = max(len(finding.about) for finding in found)
    lines = []
    for finding in found:
        lines.append(f"{WORDS[finding.status]:7}  {finding.about:{wide}}  {finding.found}")
        if finding.do:
            lines.append(f"{'':7}  {'':{wide}}  -> {finding.do}")
    missing = sum(finding.status == "missing" for finding in found)
    lines.append("Nothing is missing." if not missing else f"{missing} missing: a run would fail, or not even begin.")
    return "\n".join(lines)
