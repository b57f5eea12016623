"""How far stages 2 and 3 are, by their files alone: (done, expected).

A scheduler asks this every half minute while an array runs, and once more when all its jobs have ended: a job that was
killed for memory may have exited with 0, and only a missing row tells. So nothing is counted that the stage itself
would do again, and torch and Lhotse stay unloaded. Rows with ``error`` count: they are there, and are tried again only
by a rerun.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from speechprune.files import read_jsonl

Key = tuple[str, int | None]  # question id and rotation of its choices (None: not rotated)


def count_recordings(cuts_path: str | Path, dump_dir: str | Path) -> tuple[int, int]:
    """Stage 2: recordings of the cuts that the dump holds as they are now, and recordings of the cuts.

    A line of the dump counts by its ``source_hash``, which is that of the cut's JSON as this toolkit writes it. What
    this cannot settle, a cut that another program wrote or that has changed since, or one that the stage did not take
    for a cut, is settled by the stage's own reading, at the price of its imports.

    Args:
        cuts_path: cuts file, or a folder of them.
        dump_dir: where ``speechprune features`` writes.
    Raises:
        FileNotFoundError: no cuts there.
    """
    path, dump = Path(cuts_path), Path(dump_dir)
    hashes: dict[str, str] = {}
    for row in _cut_rows(_cut_files(path) if path.is_dir() else [path]):
        if row["id"] not in hashes:
            hashes[row["id"]] = _hash(row)
    if not hashes:
        raise FileNotFoundError(f"no cuts in {path}; run stage 1 (prepare)")
    stored = {name: cut.source_hash for name, cut in _latest(dump).items()}
    listed = _listed(dump)
    strange = listed is not None and not listed.issuperset(hashes)
    if strange or any(stored.get(name, own) != own for name, own in hashes.items()):
        hashes = _exact_hashes(path)
    return sum(stored.get(name) == own for name, own in hashes.items()), len(hashes)


def count_rows(
    dump_dir: str | Path, exp_dir: str | Path, config: str | Path, permute: str | None = None
) -> tuple[int, int]:
    """Stage 3: rows of the configuration's systems about the dump's questions, each once, and how many there will be.

    The systems are those of the configuration, so that folders of earlier ones are not waited for. Whether a method
    has rates, and so a folder for each, only its pruner knows, which needs torch; it is told by the ``config.json``
    that decode writes for all systems before the first row. A method without any counts as one system, which is too
    few, until decode has begun: then nothing is done of it.

    Args:
        dump_dir: what stage 2 wrote.
        exp_dir: where ``speechprune decode`` writes.
        config: the decode configuration.
        permute: as ``speechprune decode --permute``.
    Raises:
        FileNotFoundError: there is no dump or no configuration.
        ValueError: decode would not take the configuration.
    """
    dump, exp = Path(dump_dir), Path(exp_dir)
    listed = _listed(dump)
    if listed is None:
        raise FileNotFoundError(f"no audio tokens in {dump}: recordings.json is missing; run stage 2 (features)")
    cuts = [cut for name, cut in _latest(dump).items() if name in listed]
    systems = _systems(exp, Path(config), permute)
    wanted = {turned: {key for cut in cuts for key in cut.keys(turned)} for turned in set(systems.values())}
    done = sum(len(wanted[turned] & _found(exp / folder)) for folder, turned in systems.items())
    return done, sum(len(wanted[turned]) for turned in systems.values())


def _cut_files(folder: Path) -> list[Path]:
    return sorted([*folder.glob("cuts*.jsonl"), *folder.glob("cuts*.jsonl.gz")])


def _cut_rows(files: Iterable[Path]) -> Iterator[dict]:
    for file in files:
        for row in read_jsonl(file, []):
            if row.get("type") == "MonoCut" and isinstance(row.get("id"), str):
                yield row


@dataclass(frozen=True)
class _Cut:
    """What is kept of a line of the dump, which may hold the time of every word."""

    rank: tuple[int, bool]
    source_hash: str
    questions: tuple[tuple[str, int], ...]  # id, number of rotations

    @classmethod
    def of(cls, row: dict) -> _Cut:
        custom = row["custom"] if isinstance(row.get("custom"), dict) else {}
        questions = custom.get("questions")
        asked = enumerate(questions if isinstance(questions, list) else [])
        rank = custom.get("revision", 0), "audio_tokens" in custom
        return cls(rank, custom.get("source_hash", ""), tuple(_asked(row["id"], k, question) for k, question in asked))

    def keys(self, turned: bool) -> Iterator[Key]:
        """What decode has to answer: each question, or each rotation of its choices."""
        for name, rotations in self.questions:
            yield from [(name, r) for r in range(rotations)] if turned else [(name, None)]


def _asked(recording: str, k: int, question: object) -> tuple[str, int]:
    """Id and rotations of the k-th question, also of a broken one: ``decode._questions`` and ``System.turned``."""
    question = question if isinstance(question, dict) else {}
    name, choices, answer = question.get("id"), question.get("choices"), question.get("answer")
    good = isinstance(choices, list) and type(answer) is int and 0 <= answer < len(choices)
    named = isinstance(name, str) and name and name.isprintable()
    return name if named else f"{recording}-q{k}", len(choices) if good else 1


def _latest(dump: Path) -> dict[str, _Cut]:
    """The dump's recordings; of several lines about one the highest revision, as ``features.read_dump`` takes them."""
    latest: dict[str, _Cut] = {}
    for row in _cut_rows(sorted(dump.glob("cuts.*.jsonl"))):
        cut = _Cut.of(row)
        if row["id"] not in latest or cut.rank > latest[row["id"]].rank:
            latest[row["id"]] = cut
    return latest


def _listed(dump: Path) -> set[str] | None:
    """The recordings that stage 2 has found in its cuts; None before it has looked."""
    try:
        return set(json.loads((dump / "recordings.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _hash(row: dict) -> str:
    """``source_hash`` of a cut as this toolkit writes it."""
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:16]


def _exact_hashes(path: Path) -> dict[str, str]:
    from speechprune.cuts import read_cuts

    hashes: dict[str, str] = {}
    for cut in read_cuts(path, []):
        hashes.setdefault(cut.id, _hash(cut.to_dict()))
    return hashes


def _systems(exp: Path, config: Path, permute: str | None) -> dict[str, bool]:
    """{folder: whether choices are rotated} of the configuration's systems."""
    import yaml

    has_rates = _methods(exp)
    systems: dict[str, bool] = {}
    try:
        table = yaml.safe_load(config.read_bytes())
        for entry in table["systems"]:
            entry = entry if isinstance(entry, dict) else {"method": entry}
            method, rates = entry["method"], entry.get("rates", table.get("rates"))
            name = entry.get("name", method)
            several = rates is not None and has_rates.get(method, "rates" in entry)
            turned = (permute or entry.get("permute", table.get("permute"))) == "cyclic"
            systems |= dict.fromkeys([f"{name}_{float(rate):g}" for rate in rates] if several else [name], turned)
    except (yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{config} is no configuration that decode takes: {error}") from error
    return systems


def _methods(exp: Path) -> dict[str, bool]:
    """{method: whether it has rates}, by the folders that decode has begun."""
    found = {}
    for path in exp.glob("*/config.json"):
        try:
            begun = json.loads(path.read_text(encoding="utf-8"))
            found[begun["method"]] = begun["rate"] is not None
        except (ValueError, KeyError, TypeError):
            continue  # damaged: decode says so
    return found


def _found(folder: Path) -> set[Key]:
    """The rows of all jobs; the last line may be one that is being written."""
    found: set[Key] = set()
    for path in folder.glob("hyp.*.jsonl"):
        for row in read_jsonl(path, []):
            name, rotation = row.get("id"), row.get("rotation")
            whole = row.keys() >= {"prediction", "error", "source_hash"}
            if whole and isinstance(name, str) and isinstance(rotation, int | None):
                found.add((name, rotation))
    return found
