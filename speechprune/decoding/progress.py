"""How far stages 2 and 3 and transcripts are, by their files alone.

A scheduler asks this every half minute while an array runs, and once more when all its jobs have ended: a job that was
killed for memory may have exited with 0, and only a missing row tells. So nothing is counted that the stage itself
would do again, and torch and Lhotse stay unloaded. Rows with ``error`` count: they are there, and are tried again only
by a rerun.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from speechprune.asr.kept import job_lines, model_name
from speechprune.common.files import read_jsonl
from speechprune.common.reading import read_yaml
from speechprune.decoding.expected import NAME, identity, read_expected
from speechprune.decoding.rows import key_of, row_problem
from speechprune.decoding.versions import UNVERIFIED, Left, Question, Verdict
from speechprune.features.lines import custom_of, cut_files, cut_rows, latest_cuts, recording_names


class RecordingCount(NamedTuple):
    """Recordings of stage 2, or of transcripts: ``str()`` gives ``80/80 recordings, 3 failed``.

    Attributes:
        done: those that are there as they are now; failed: of these, those that could not be encoded or heard.
        expected: those of the cuts.
    """

    done: int
    expected: int
    failed: int

    def __str__(self) -> str:
        return f"{self.done}/{self.expected} recordings" + (f", {self.failed} failed" if self.failed else "")


class RowCount(NamedTuple):
    """Rows of stage 3: ``str()`` gives ``9210/12400 rows, 3 failed``, and what is to be said about versions.

    Attributes:
        done: rows that are there, each once; failed: of these, those with an error.
        expected: how many there will be.
        left: those that answer another version of their question, and are not among the done.
        unverified: rows among the done that do not say which version they answer.
    """

    done: int
    expected: int
    failed: int
    left: Left
    unverified: int

    def __str__(self) -> str:
        text = f"{self.done}/{self.expected} rows" + (f", {self.failed} failed" if self.failed else "")
        text += f"; {self.left}, which decode asks again" if self.left else ""
        return text + (f"; {self.unverified} {UNVERIFIED}" if self.unverified else "")


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
    for row in cut_rows(cut_files(path)):
        if row["id"] not in hashes:
            hashes[row["id"]] = _hash(row)
    if not hashes:
        raise FileNotFoundError(f"no cuts in {path}; run stage 1 (prepare)")
    stored = latest_cuts(dump, lambda row: (custom_of(row).get("source_hash", ""), "audio_tokens" in custom_of(row)))
    listed = set(recording_names(dump)) if (dump / "recordings.json").is_file() else None
    strange = listed is not None and not listed.issuperset(hashes)
    if strange or any(stored[name][0] != own for name, own in hashes.items() if name in stored):
        hashes = _exact_hashes(path)
    encoded = [stored[name][1] for name, own in hashes.items() if name in stored and stored[name][0] == own]
    return RecordingCount(len(encoded), len(hashes), encoded.count(False))


def count_transcripts(cuts_path: str | Path, out: str | Path, asr: str) -> RecordingCount:
    """Recordings of the cuts that have a line of transcripts by the model of that name; samples are not compared.

    Args:
        cuts_path: cuts file, or a folder of them.
        out: the ``.jsonl`` that ``speechprune transcribe`` makes; its jobs' lines count.
        asr: the Whisper, hub name or folder.
    Raises:
        FileNotFoundError: no cuts there.
    """
    names = {row["id"] for row in cut_rows(cut_files(Path(cuts_path)))}
    if not names:
        raise FileNotFoundError(f"no cuts in {cuts_path}; run stage 1 (prepare)")
    found: dict[str, bool] = {}
    for row in job_lines(Path(out)):
        if row["recording"] in names and row.get("model") == model_name(asr):
            found[row["recording"]] = found.get(row["recording"], False) or "error" not in row
    return RecordingCount(len(found), len(names), list(found.values()).count(False))


def count_rows(
    dump_dir: str | Path,
    exp_dir: str | Path,
    config: str | Path,
    permute: str | None = None,
    mode: str | None = None,
) -> RowCount:
    """Stage 3: rows of the configuration's systems about the dump's questions, against what decode wrote it expects.

    The systems are those of the configuration, so that folders of earlier ones are not waited for.

    Args:
        dump_dir: what stage 2 wrote.
        exp_dir: where ``speechprune decode`` writes.
        config: the decode configuration.
        permute, mode: as ``speechprune decode --permute`` and ``--mode``.
    Raises:
        FileNotFoundError: there is no dump or no configuration, or decode has not begun.
        ValueError: decode has not begun with this configuration, or a file is damaged.
    """
    dump, exp = Path(dump_dir), Path(exp_dir)
    given = {key: value for key, value in {"permute": permute, "mode": mode}.items() if value is not None}
    name = identity(read_yaml(config), given)
    recording_names(dump)  # a dump that is not there is the first thing to say
    expected = read_expected(exp, dump)
    if name not in expected.configurations:
        raise ValueError(f"{exp / NAME}: decode has not begun with {config} as it is now; run stage 3 (decode)")
    folders = {folder: setting["permute"] == "cyclic" for folder, setting in expected.configurations[name].items()}
    wanted = {
        rotated: {key for question in expected.questions.values() for key in question.keys(rotated)}
        for rotated in set(folders.values())
    }
    done = total = failed = unverified = 0
    left = Left()
    for folder, rotated in folders.items():
        asked = wanted[rotated]
        found = _states(exp / folder, expected.questions)
        counted = {key for key in asked & found.keys() if found[key][0] is not Verdict.OTHER}
        for key in asked & found.keys() - counted:
            left.add(key[0])
        done, total = done + len(counted), total + len(asked)
        failed += sum(not found[key][1] for key in counted)
        unverified += sum(found[key][0] is Verdict.UNVERIFIED for key in counted)
    return RowCount(done, total, failed, left, unverified)


def _states(folder: Path, questions: dict[str, Question]) -> dict[tuple, tuple[Verdict, bool]]:
    """{key: (the best verdict on its rows, whether such a one is an answer)} over the rows of all jobs.

    The last line of a file may be one that is being written.
    """
    found: dict[tuple, tuple[Verdict, bool]] = {}
    for path in folder.glob("hyp.*.jsonl"):
        for row in read_jsonl(path, []):
            if row_problem(row) is None and row["id"] in questions:
                key, state = key_of(row), (questions[row["id"]].verdict(row), row["error"] is None)
                if key not in found or state > found[key]:
                    found[key] = state
    return found


def _hash(row: dict) -> str:
    """``source_hash`` of a cut as this toolkit writes it."""
    if isinstance(row.get("custom"), dict):
        row = row | {"custom": {key: value for key, value in row["custom"].items() if key != "corpus"}}
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:16]


def _exact_hashes(path: Path) -> dict[str, str]:
    from speechprune.data.cuts import read_cuts

    hashes: dict[str, str] = {}
    for cut in read_cuts(path, []):
        hashes.setdefault(cut.id, _hash(cut.to_dict()))
    return hashes
