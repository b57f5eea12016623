"""Systems: what stage 3 compares. One system = a pruner with its options, a rate, and how it is asked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechprune.common.defaults import QUERY, SEED
from speechprune.common.reading import read_yaml
from speechprune.common.registry import lookup
from speechprune.decoding.cascade import TITLES, Cascade
from speechprune.decoding.chunks import Chunks
from speechprune.decoding.expected import identity
from speechprune.decoding.modes import LETTERED, MODES, folder_name, way_of
from speechprune.decoding.oracle import Oracle
from speechprune.decoding.rows import is_taken, turned
from speechprune.prompts import QUERIES
from speechprune.pruners import Pruner, all_pruners, get_pruner, required_options, to_options

# What a system hears: the recording; the recording without some of the question's spans (and 0.2 s on both sides of
# each); a full window of silence, repeated to the recording's length; no audio token at all. A model that answers
# from the audio falls to chance on the last three, and below it on no_evidence where distractors name wrong choices.
LEFT_OUT = {"no_evidence": ("evidence",), "no_facts": ("evidence", "distractors")}
AUDIO = ("recording", *LEFT_OUT, "silence", "none")
POSITIONS = ("reindexed", "original")
PERMUTE = ("none", "cyclic")  # ask once, or once for every rotation of the choices
SETTINGS = {"audio": AUDIO, "query": QUERIES, "positions": POSITIONS, "permute": PERMUTE, "mode": MODES}
_SYSTEM_KEYS = ("method", "name", "rates", *SETTINGS)
_COMMON_KEYS = ("query", "positions", "permute", "mode", "seed")
_CONFIG_KEYS = ("systems", "rates", *_COMMON_KEYS, "batch_tokens", "transcripts")


_PLAIN: dict[str, type[Oracle | Chunks]] = {cls.name: cls for cls in (Oracle, Chunks)}  # without options
_UNPLACED = (Cascade, Chunks)  # tokens that have no places to keep, or that keep them all
Method = Pruner | Oracle | Cascade | Chunks


@dataclass(frozen=True)
class System:
    """One line of the table.

    Attributes:
        name: as in tables; the pruner's name unless the configuration gives another.
        pruner: the method: a pruner, the oracle, a transcript in place of the audio, or chunks.
        rate: share of the model's ordinary input removed, or None where the pruner has no budget.
        audio: one of ``AUDIO``.
        query: the text that the pruner compares the audio with, one of ``prompts.QUERIES``.
        positions: "reindexed" (tokens are renumbered after pruning) or "original".
        permute: one of ``PERMUTE``.
        mode: one of ``MODES``.
        seed: of pruners that draw at random.
    """

    name: str
    pruner: Method
    rate: float | None
    audio: str = "recording"
    query: str = QUERY
    positions: str = "reindexed"
    permute: str = "none"
    mode: str = "logprob"
    seed: int = SEED

    def __post_init__(self) -> None:
        if way_of(self.mode) != LETTERED and self.permute == "cyclic":
            raise ValueError(
                f"systems: {self.name}: permute {self.permute} with mode {self.mode}, whose prompt shows no choices to "
                "rotate; remove one of the two"
            )

    @property
    def folder(self) -> str:
        """``rap_0.4``, ``rap_0.4_cloze``: the system's folder below exp/<model>/<set>."""
        return folder_name(self.name, self.rate, way_of(self.mode))

    @property
    def title(self) -> str:
        """How tables print it: the pruner's title, or the name that the configuration gives."""
        if isinstance(self.pruner, Cascade) and self.name == self.pruner.system:
            return TITLES[self.pruner.source]
        return self.pruner.title if self.name == self.pruner.name else self.name

    def turned(self, questions: Sequence[dict]) -> list[dict]:
        """The questions as the system is asked them: as they are, or each once for every rotation of its choices.

        See ``rows.turned``.
        """
        if self.permute == "none":
            return list(questions)
        return [one for question in questions for one in turned(question)]

    def describe(self) -> dict:
        """All that the system's answers depend on besides model and recording, for its config.json."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "pruner"}
        for key in ("permute", "mode"):
            if values[key] == SETTINGS[key][0]:
                del values[key]  # folders from before there was a choice stay valid
        return {**values, "method": self.pruner.name, "options": to_options(self.pruner)}


@dataclass(frozen=True)
class DecodeConfig:
    """The content of a decode configuration.

    Attributes:
        systems: in the order of the file, rates ascending as given.
        batch_tokens: most tokens, padding included, in one prefill; None for what suits the device. It changes speed
            and memory, not the answers.
        transcripts: file that source: asr reads; None for ``transcripts.NAME`` in the dump.
        table: the file's content; settings: what ``changed`` has set. ``progress`` knows a configuration by them.
    """

    systems: tuple[System, ...]
    batch_tokens: int | None = None
    transcripts: Path | None = None
    table: dict | None = dataclasses.field(default=None, compare=False, repr=False)
    settings: dict[str, str] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        folders = [system.folder for system in self.systems]
        if doubled := [folder for folder in folders if folders.count(folder) > 1]:
            means = "".join(f" with --{name} {value}" for name, value in self.settings.items())
            raise ValueError(f"systems: {doubled[0]} appears twice{means}; give one of them another 'name'")

    def changed(self, **settings: str) -> DecodeConfig:
        """The same with fields of ``System``, such as permute or mode, set for all systems."""
        fields: dict[str, Any] = dict(settings)
        systems = tuple(dataclasses.replace(system, **fields) for system in self.systems)
        return dataclasses.replace(self, systems=systems, settings=self.settings | settings)

    @property
    def identity(self) -> str:
        """As ``expected.identity``."""
        return identity(
            [system.describe() for system in self.systems] if self.table is None else self.table, self.settings
        )


def methods() -> dict[str, type[Method]]:
    """{name: class} of all that a system may have as its method: the pruners, the oracle, a transcript, chunks."""
    return {**all_pruners(), Oracle.name: Oracle, Cascade.name: Cascade, Chunks.name: Chunks}


def load_config(path: str | Path) -> DecodeConfig:
    """Read a decode configuration.

    ::

        query: question+choices       # optional, as are positions, permute, mode, seed and batch_tokens
        rates: [0.2, 0.4]             # for every system that has a budget and no rates of its own
        systems:
          - original
          - method: speechprune
            rates: [0.6]
            phase2: {heads: full-width}
          - {method: all, without: [full, iterative_fusion]}  # every pruner that there is
          - oracle
          - chunks
          - {method: transcript, source: reference}           # or asr: what speechprune transcribe wrote
          - {name: silence, method: original, audio: silence}

    Raises:
        FileNotFoundError: no such file.
        ValueError: names file, entry, value and what is valid.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no decode configuration {path}; pass a YAML file such as conf/decode.yaml")
    table = read_yaml(path, dict, f"its keys are {', '.join(_CONFIG_KEYS)}")
    try:
        return _parse(table)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _parse(table: dict) -> DecodeConfig:
    if unknown := [key for key in table if key not in _CONFIG_KEYS]:
        raise ValueError(f"unknown option {unknown[0]!r}; choose from: {', '.join(_CONFIG_KEYS)}")
    if not isinstance(table.get("systems"), list) or not table["systems"]:
        raise ValueError("systems: expected a list with at least one system")
    common = {key: table[key] for key in _COMMON_KEYS if key in table}
    if not _is_whole(common.get("seed", 0)):
        raise ValueError(f"seed: {common['seed']!r}, expected a whole number")
    systems: list[System] = []
    for entry in table["systems"]:
        for each in _each(entry if isinstance(entry, dict) else {"method": entry}):
            systems += _expand(each, table.get("rates"), common)
    batch_tokens = table.get("batch_tokens")
    if batch_tokens is not None and not (_is_whole(batch_tokens) and batch_tokens >= 1):
        raise ValueError(f"batch_tokens: {batch_tokens!r}, expected a whole number of at least 1")
    if taken := next((system.folder for system in systems if is_taken(system.folder)), None):
        raise ValueError(f"systems: {taken}: the experiment's folder has a file or folder of this name; choose another")
    transcripts = table.get("transcripts")
    if not isinstance(transcripts, str | None):
        raise ValueError(f"transcripts: {transcripts!r}, expected the path of a file")
    return DecodeConfig(tuple(systems), batch_tokens, Path(transcripts) if transcripts else None, table)


def _each(entry: dict) -> list[dict]:
    """The entry itself; for ``{method: all, without: [..]}`` one for every pruner that needs no options."""
    if entry.get("method") != "all":
        return [entry]
    without = entry.get("without", [])
    if not isinstance(without, list) or (unknown := [name for name in without if name not in all_pruners()]):
        named = without if not isinstance(without, list) else unknown[0]
        raise ValueError(f"systems: all: without {named!r}; give a list of {', '.join(all_pruners())}")
    alone = [name for name, cls in all_pruners().items() if not required_options(cls) and name not in without]
    return [{**{key: value for key, value in entry.items() if key != "without"}, "method": name} for name in alone]


def _expand(entry: dict, rates: object, common: dict) -> list[System]:
    """One entry of the list -> one system per rate. What is no key of a system is an option of its pruner."""
    if not isinstance(entry.get("method"), str):
        raise ValueError(f"systems: {entry!r} names no method")
    method, name = entry["method"], entry.get("name", _own_name(entry))
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", name):
        raise ValueError(f"systems: name {name!r}; use letters, digits, '_', '-' and '.', beginning with a letter")
    options = {str(key): value for key, value in entry.items() if key not in _SYSTEM_KEYS}
    try:
        lookup("pruner", method, methods())
        pruner = _method(method, entry, options)
    except ValueError as error:
        keys = f" (keys of every system: {', '.join(_SYSTEM_KEYS)})" if options else ""
        raise ValueError(f"systems: {name}: {error}{keys}") from error
    settings = common | {key: entry[key] for key in SETTINGS if key in entry}
    if isinstance(pruner, _UNPLACED):
        if entry.get("positions", POSITIONS[0]) != POSITIONS[0]:
            raise ValueError(f"systems: {name}: positions {entry['positions']!r}; {method} drops nothing: remove it")
        settings |= {"positions": POSITIONS[0]}
    for key, valid in SETTINGS.items():
        if settings.get(key, valid[0]) not in valid:
            raise ValueError(f"systems: {name}: {key} {settings[key]!r}; choose from: {', '.join(valid)}")
    if settings.get("audio") == "none" and pruner.has_budget:
        raise ValueError(f"systems: {name}: audio none leaves nothing to prune; use method: full")
    if not pruner.has_budget:
        if "rates" in entry:
            raise ValueError(f"systems: {name}: {pruner.name} has no rate; remove 'rates'")
        return [System(name, pruner, None, **settings)]
    return [System(name, pruner, rate, **settings) for rate in _rates(name, entry.get("rates", rates))]


def _method(name: str, entry: dict, options: dict) -> Method:
    if name in _PLAIN:
        if options:
            raise ValueError(f"unknown option {next(iter(options))!r}; {name} has none")
        _needs_recording(entry)
        return _PLAIN[name]()
    return _cascade(entry, options) if name == Cascade.name else get_pruner(name, **options)


def _own_name(entry: dict) -> str:
    """Of a system that is given none."""
    known = entry["method"] == Cascade.name and entry.get("source") in TITLES
    return Cascade(entry["source"]).system if known else entry["method"]


def _cascade(entry: dict, options: dict) -> Cascade:
    if unknown := [key for key in options if key != "source"]:
        raise ValueError(f"unknown option {unknown[0]!r}; transcript has: source")
    _needs_recording(entry)
    return Cascade(options.get("source", ""))


def _needs_recording(entry: dict) -> None:
    if entry.get("audio", AUDIO[0]) != AUDIO[0]:
        raise ValueError(f"{entry['method']} with audio {entry['audio']!r}; it needs the recording: remove 'audio'")


def _rates(name: str, rates: object) -> Sequence[float]:
    if not isinstance(rates, list) or not rates:
        given = "no rates" if rates is None else f"rates {rates!r}"
        raise ValueError(f"systems: {name}: {given}; give a list, here or for all systems, such as rates: [0.2, 0.4]")
    for rate in rates:
        if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 <= rate < 1:
            raise ValueError(f"systems: {name}: rate {rate!r}; the share removed is at least 0 and below 1")
    return [float(rate) for rate in rates]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
