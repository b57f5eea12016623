"""The prompts of a build, in files that one can read and edit: ``<folder>/prompts/*.txt``, ours to begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from speechprune.common.files import atomic_write

OURS = Path(__file__).with_name("prompts")
SYSTEM, SAMPLE, FAULTS, BLIND = "system", "sample", "faults", "blind"


@dataclass(frozen=True)
class Prompts:
    """Templates with ``$name`` slots, by name."""

    texts: Mapping[str, str]
    folder: Path

    def fill(self, name: str, **values: object) -> str:
        """ValueError for a slot that there is no value for; it names the file."""
        try:
            return Template(self.texts[name]).substitute(values).strip()
        except (KeyError, ValueError) as error:
            slots = ", ".join(f"${slot}" for slot in values) or "none"
            raise ValueError(
                f"{self.folder / name}.txt: the slot {error} is none; there are: {slots}; $$ is a $"
            ) from error


def copy_prompts(folder: Path) -> None:
    """Leave our prompts in ``folder/prompts``; a file that is there stays as it is."""
    for path in sorted(OURS.glob("*.txt")):
        if not (place := folder / "prompts" / path.name).exists():
            with atomic_write(place) as file:
                file.write(path.read_text(encoding="utf-8"))


def read_prompts(folder: Path) -> Prompts:
    """Those of ``folder/prompts``.

    Raises:
        FileNotFoundError: one is missing. ValueError: one is not UTF-8.
    """
    folder = folder / "prompts"
    texts = {}
    for name in (SYSTEM, SAMPLE, FAULTS, BLIND):
        path = folder / f"{name}.txt"
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {path}; stage 0, speechprune plan, writes it")
        texts[name] = path.read_text(encoding="utf-8")
    return Prompts(texts, folder)
