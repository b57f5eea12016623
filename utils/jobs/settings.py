"""slurm.conf: how the options of utils/slurm.py become options of sbatch. utils/slurm.conf explains the form."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from .words import UsageError


@dataclass
class Config:
    """The merged slurm.conf files. ``options`` maps a name to {value or "*": words for sbatch}."""

    command: list[str] = field(default_factory=lambda: ["sbatch"])
    options: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)
    setup: list[str] = field(default_factory=list)
    prefix: list[str] = field(default_factory=list)

    def read(self, path: Path) -> None:
        """Add a file; a later line replaces an earlier one for the same option and value, setup lines add up."""
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            word, _, rest = line.strip().partition(" ")
            if not word or word.startswith("#"):
                continue
            try:
                self._add(word, rest.strip())
            except ValueError as error:
                raise UsageError(f"{path}:{number}: {error}: {line.strip()!r}") from None

    def _add(self, word: str, rest: str) -> None:
        if word == "setup":
            self.setup.append(rest)
        elif word == "prefix":
            self.prefix = shlex.split(rest, comments=True)
        elif word == "command" and (words := shlex.split(rest, comments=True)):
            self.command = words
        elif word == "option" and (match := re.match(r"(\w+)=(\S+)(\s.*)?$", rest)):
            self.options.setdefault(match[1], {})[match[2]] = shlex.split(match[3] or "", comments=True)
        elif word == "default" and (match := re.match(r"(\w+)=(\S+)\s*(#.*)?$", rest)):
            self.defaults[match[1]] = match[2]
        else:
            raise ValueError("expected command, option NAME=VALUE, default NAME=VALUE, setup or prefix")

    def flags(self, given: dict[str, str]) -> list[str]:
        """The words for sbatch; UsageError for a value that no line allows."""
        words = []
        for name, choices in self.options.items():
            value = given.get(name) or self.defaults.get(name)
            if value is None:
                continue
            chosen = choices.get(value, choices.get("*"))
            if chosen is None:
                valid = ", ".join(choices)
                raise UsageError(
                    f"--{dashed(name)}: slurm.conf has no line for {value!r}; the valid values are: {valid}"
                )
            words += [part.replace("$0", value) for part in chosen]
        return words


def dashed(name: str) -> str:
    return name.replace("_", "-")


def read_config(extra: str | None) -> Config:
    """Merge the file of utils/, the user's, the checkout's own and ``extra``."""
    here = Path(__file__).resolve().parents[1]
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    config = Config()
    paths = [here / "slurm.conf", home / "speechprune" / "slurm.conf", here.parent / "local" / "slurm.conf"]
    for path in [path for path in paths if path.is_file()] + ([Path(extra)] if extra else []):
        try:
            config.read(path)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {path}: {error}") from None
    for name in config.defaults.keys() - config.options.keys():
        raise UsageError(f"slurm.conf: default {name}={config.defaults[name]} has no line: option {name}=* ...")
    return config
