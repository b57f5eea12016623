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
from typing import NamedTuple

from speechprune.common.files import read_jsonl

ORDINARY = {"permute": "none", "mode": "logprob"}  # decode's defaults, which it does not write down
Key = tuple[str, int | None]  # question id and rotation of its choices (None: not rotated)


class RecordingCount(NamedTuple):
    """Recordings of stage 2: ``str()`` gives ``80/80 recordings, 3 failed``.

    Attributes:
        done: those that the dump holds as they are now; failed: of these, those that could not be encoded.
        expected: those of the cuts.
    """

    done: int
    expected: int
    failed: int

    def __str__(self) -> str:
        return f"{self.done}/{self.expected} recordings" + (f", {self.failed} failed" if self.failed else "")


def count_recordings(cuts_path: str | Path, dump_dir: str | Path) -> RecordingCount:
    """Stage 2: recordings of the cuts that the dump holds as they are now.

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
    stored = {name: (cut.source_hash, cut.rank[1]) for name, cut in _latest(dump).items()}
    listed = _listed(dump)
    strange = listed is not None and not listed.issuperset(hashes)
    if strange or any(stored[name][0] != own for name, own in hashes.items() if name in stored):
        hashes = _exact_hashes(path)
    encoded = [stored[name][1] for name, own in hashes.items() if name in stored and stored[name][0] == own]
    return RecordingCount(len(encoded), len(hashes), encoded.count(False))


def count_rows(
    dump_dir: str | Path,
    exp_dir: str | Path,
    config: str | Path,
    permute: str | None = None,
    mode: str | None = None,
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
        permute, mode: as ``speechprune decode --permute`` and ``--mode``.
    Raises:
        FileNotFoundError: there is no dump or no configuration.
        ValueError: decode would not take the configuration.
    """
    dump, exp = Path(dump_dir), Path(exp_dir)
    listed = _listed(dump)
    if listed is None:
        raise FileNotFoundError(f"no audio tokens in {dump}: recordings.json is missing; run stage 2 (features)")
    cuts = [cut for name, cut in _latest(dump).items() if name in listed]
    begun = _begun(exp)
    systems = _systems(begun, Path(config), permute, mode)
    turned = {folder: setting["permute"] == "cyclic" for folder, setting in systems.items()}
    wanted = {rotated: {key for cut in cuts for key in cut.keys(rotated)} for rotated in set(turned.values())}
    asked = {folder: wanted[rotated] for folder, rotated in turned.items()}
    done = sum(len(asked[name] & _found(exp / name)) for name in systems if _fits(begun.get(name), systems[name]))
    return done, sum(map(len, asked.values()))


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
    from speechprune.data.cuts import read_cuts

    hashes: dict[str, str] = {}
    for cut in read_cuts(path, []):
        hashes.setdefault(cut.id, _hash(cut.to_dict()))
    return hashes


def _systems(begun: dict[str, dict], config: Path, permute: str | None, mode: str | None) -> dict[str, dict]:
    """{folder: how its questions are asked, as ``ORDINARY``} of the configuration's systems."""
    import yaml

    has_rates = {row["method"]: row["rate"] is not None for row in begun.values() if row.keys() >= {"method", "rate"}}
    given = {"permute": permute, "mode": mode}
    systems: dict[str, dict] = {}
    try:
        table = yaml.safe_load(config.read_bytes())
        for entry in table["systems"]:
            entry = entry if isinstance(entry, dict) else {"method": entry}
            method, rates = entry["method"], entry.get("rates", table.get("rates"))
            name = entry.get("name", method)
            several = rates is not None and has_rates.get(method, "rates" in entry)
            setting = {key: given[key] or entry.get(key, table.get(key, ORDINARY[key])) for key in ORDINARY}
            systems |= dict.fromkeys([f"{name}_{float(rate):g}" for rate in rates] if several else [name], setting)
    except (yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{config} is no configuration that decode takes: {error}") from error
    return systems


def _begun(exp: Path) -> dict[str, dict]:
    """{folder: its config.json} of the systems that decode has begun; {} for one that is damaged."""
    found = {}
    for path in exp.glob("*/config.json"):
        try:
            begun = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            begun = None
        found[path.parent.name] = begun if isinstance(begun, dict) else {}
    return found


def _fits(begun: dict | None, setting: dict) -> bool:
    """Whether decode would go on in a folder with this config.json (None: without one); if not, it says so."""
    return begun is None or (bool(begun) and all(begun.get(key, ORDINARY[key]) == setting[key] for key in ORDINARY))


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
