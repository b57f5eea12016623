"""`speechprune progress`: exact where a stage has ended, never complete before, and cheap to ask."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from helpers.decoding import config_of, make_dump, make_recordings, merged, run
from helpers.fakes import extract, make_corpus, rows
from helpers.many_rows import make_many

from speechprune.cli import main
from speechprune.common.files import Shard
from speechprune.data.cuts import write_cuts
from speechprune.decoding.expected import NAME, read_expected
from speechprune.decoding.progress import count_recordings, count_rows
from speechprune.decoding.stage import decode
from speechprune.decoding.systems import load_config

ENTRIES = [
    "original",
    {"method": "rap", "rates": [0.2, 0.6]},
    {"name": "turned", "method": "full", "permute": "cyclic"},
]


@pytest.fixture(scope="module")
def decoded(tmp_path_factory, model) -> Path:
    """dump, exp and decode.yaml of four recordings: one cannot be read, one has broken questions."""
    folder = tmp_path_factory.mktemp("decoded")
    cuts = make_recordings(folder, (2.0, 1.5, 1.0, 1.2))
    Path(cuts[2].recording.sources[0].source).unlink()
    cuts[3].custom["questions"][0] |= {"answer": 7}
    cuts[3].custom["questions"][1].pop("id")
    cuts[3].custom["questions"].append("no question")
    dump = make_dump(folder, cuts, model)
    run(dump, folder / "exp", config_of(folder, systems=ENTRIES), model, jobs=2)
    return folder


@pytest.fixture
def stage(tmp_path, decoded) -> Path:
    return Path(shutil.copytree(decoded, tmp_path / "stage"))


def counted(stage: Path, **options) -> tuple[int, int]:
    count = count_rows(stage / "dump", stage / "exp", stage / "decode.yaml", **options)
    assert not count.left
    assert count.unverified == 0
    return count.done, count.expected


def begin(stage: Path, model, **changed: str) -> None:
    """Decode starts, and is told to end before its first row."""
    config = load_config(stage / "decode.yaml").changed(**changed)
    decode(stage / "dump", stage / "exp", config, model, progress=False, stop=lambda: True)


def configure(stage: Path, *systems, **common) -> None:
    (stage / "decode.yaml").write_text(yaml.safe_dump({"systems": list(systems), **common}))


def test_a_decoded_set_is_complete_with_its_error_rows(stage):
    assert any(row["error"] for row in merged(stage / "exp").values())
    total = sum(len(rows(path)) for path in (stage / "exp").rglob("hyp.*.jsonl"))
    # 13 questions, the last without a form, in three systems; in the fourth 2, 3 or 4 rotations where all is well.
    assert counted(stage) == (total, total) == (3 * 13 + 3 * (4 + 2 + 3) + (1 + 2 + 3 + 1),) * 2


def test_a_row_less_is_a_row_less(stage):
    done, expected = counted(stage)
    path = stage / "exp" / "turned" / "hyp.1.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:-20])  # torn
    assert counted(stage) == (done - 1, expected)
    path.write_bytes(b"".join(lines[:-1] * 2))  # twice is once
    assert counted(stage) == (done - 1, expected)
    path.write_bytes(b"".join(lines[:-1]) + b'{"id": "' + json.loads(lines[-1])["id"].encode() + b'", "rotation": 1}\n')
    assert counted(stage) == (done - 1, expected)  # no row: decode would write it again
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:-1])  # whole but for the line's end
    assert counted(stage) == (done, expected)


def test_the_configuration_says_what_is_expected_and_not_the_folders(stage, model):
    first = (stage / "decode.yaml").read_text()
    configure(stage, "original", {"method": "rap", "rates": [0.2, 0.6, 0.8]})
    with pytest.raises(ValueError, match=r"expected\.json: decode has not begun with .*decode\.yaml as it is now; run"):
        counted(stage)
    begin(stage, model)
    assert counted(stage) == (3 * 13, 4 * 13)  # 0.8 is new, `turned` is of an earlier configuration
    configure(stage, "original", "rap", rates=[0.2])
    begin(stage, model)
    assert counted(stage) == (2 * 13, 2 * 13)  # original has no rates
    configure(stage, "original", {"name": "other", "method": "rap"}, rates=[0.2, 0.6])
    begin(stage, model)
    assert counted(stage) == (13, 3 * 13)
    configure(stage, {"name": "twisted", "method": "full"}, {"method": "rap", "rates": [0.2]})
    begin(stage, model)
    assert counted(stage) == (13, 2 * 13)
    # Decode began with this at first: what other runs expect has not taken its place.
    (stage / "decode.yaml").write_text(first)
    assert counted(stage)[0] == counted(stage)[1] > 3 * 13
    (stage / "decode.yaml").write_text(f"# Words.\n{first}\nbatch_tokens: 3\n")  # changes no row
    assert counted(stage)[0] == counted(stage)[1] > 3 * 13


def test_what_the_command_line_sets_is_part_of_the_configuration(stage, model):
    configure(stage, {"method": "rap", "rates": [0.2]})
    begin(stage, model)
    assert counted(stage) == (13, 13)
    with pytest.raises(ValueError, match="decode has not begun with"):
        counted(stage, mode="generate")  # decode would refuse the folder's rows
    shutil.rmtree(stage / "exp" / "rap_0.2")
    begin(stage, model, mode="generate")
    assert counted(stage, mode="generate") == (0, 13)
    with pytest.raises(ValueError, match="decode has not begun with"):
        counted(stage)  # and now it would refuse these


def test_jobs_that_start_together_write_the_same(stage, model):
    with ThreadPoolExecutor(3) as pool:
        tables = [[*ENTRIES], ["full"], [{"method": "rac", "rates": [0.4]}]]
        for place, table in enumerate(tables):
            (stage / f"{place}.yaml").write_text(yaml.safe_dump({"systems": table}))
        configs = [load_config(stage / f"{place}.yaml") for place in range(3)]
        jobs = [
            pool.submit(decode, stage / "dump", stage / "exp", config, model, Shard(job, 2), False, lambda: True)
            for config in configs
            for job in (1, 2)
        ]
        assert [job.result().problems for job in jobs] == [[]] * 6
    begun = read_expected(stage / "exp").configurations
    assert {config.identity for config in configs} <= begun.keys()


def test_a_dump_that_has_changed_is_read_again(stage, model):
    done, expected = counted(stage)
    path = stage / "dump" / "cuts.1.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["custom"]["questions"].pop()
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert counted(stage) == (done - 3 - 3, expected - 3 - 3)


def test_an_experiment_of_an_earlier_version_says_what_to_do(stage):
    (stage / "exp" / NAME).unlink()
    message = r"exp/expected\.json is missing: nothing, or an earlier version, has decoded here; run stage 3"
    with pytest.raises(FileNotFoundError, match=message):
        counted(stage)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 2}', '{"format": 1, "dump": 1, "state": {}, "configurations": [], "questions": 1}'],
)
def test_a_damaged_expectation_is_named(stage, text):
    (stage / "exp" / NAME).write_text(text)
    with pytest.raises(ValueError, match=r"expected\.json .*; remove it and run stage 3"):
        counted(stage)


def test_many_files_are_one_number(tmp_path):
    make_many(tmp_path, shards=20, recordings=40)
    assert counted(tmp_path) == (25 * 200, 25 * 200)
    (tmp_path / "exp" / "rap_0.4" / "hyp.20.jsonl").unlink()
    assert counted(tmp_path) == (25 * 200 - 10, 25 * 200)


def test_rows_of_recordings_that_the_dump_has_no_more_do_not_count(stage):
    listing = stage / "dump" / "recordings.json"
    _, expected = counted(stage)
    listing.write_text(json.dumps(json.loads(listing.read_text())[1:]))
    fewer = counted(stage)
    assert fewer[0] == fewer[1] < expected
    listing.unlink()
    with pytest.raises(FileNotFoundError, match=r"recordings.json is missing; run stage 2"):
        counted(stage)


def test_recordings(tmp_path):
    cuts = make_corpus(tmp_path, 3, 2.5)
    write_cuts(tmp_path / "cuts.jsonl.gz", cuts)
    paths = tmp_path / "cuts.jsonl.gz", tmp_path / "dump"
    assert count_recordings(*paths) == (0, 3, 0)
    extract(tmp_path, shard="1/2")
    assert count_recordings(*paths) == (2, 3, 0)
    Path(cuts[1].recording.sources[0].source).unlink()
    extract(tmp_path, shard="2/2")
    assert count_recordings(*paths) == (3, 3, 1)  # what cannot be read has its line
    assert str(count_recordings(*paths)) == "3/3 recordings, 1 failed"

    cuts[0].custom["scenario"] = "lecture"
    write_cuts(tmp_path / "cuts.jsonl.gz", cuts)
    assert count_recordings(*paths) == (2, 3, 1)  # stage 2 would encode it again
    extract(tmp_path)
    assert count_recordings(*paths) == (3, 3, 1)


def test_recordings_of_cuts_that_another_program_wrote(tmp_path):
    cuts = make_corpus(tmp_path, 2, 2.5)
    lines = [cut.to_dict() for cut in cuts]
    lines[0]["start"] = 0  # Lhotse makes it 0.0
    lines += [{"id": "broken", "type": "MonoCut"}, {"id": "other", "type": "MultiCut"}, lines[1]]
    (tmp_path / "cuts").mkdir()
    (tmp_path / "cuts" / "cuts.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + "{\n")
    shutil.copytree(tmp_path / "cuts", tmp_path / "cuts.jsonl.gz")  # where `extract` looks
    extract(tmp_path)
    assert count_recordings(tmp_path / "cuts", tmp_path / "dump") == (2, 2, 0)


def test_the_command_needs_neither_torch_nor_lhotse(stage):
    words = [["decode", "dump", "exp", "--config", "decode.yaml"], ["features", "cuts.jsonl", "dump"]]
    script = f"""
import sys
from speechprune.cli import main
for words in {words}:
    main(["progress", *words], standalone_mode=False)
print(sorted({{"torch", "lhotse", "numpy", "transformers"}} & sys.modules.keys()))
"""
    result = subprocess.run([sys.executable, "-c", script], cwd=stage, capture_output=True, text=True, check=True)
    rows_done = "{}/{} rows, 37 failed".format(*counted(stage))
    assert result.stdout.splitlines() == [rows_done, "4/4 recordings, 2 failed", "[]"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["decode", "dump", "exp"], "decode needs --config"),
        (["features", "cuts.jsonl", "dump", "--config", "decode.yaml"], "--config belongs to decode"),
        (["features", "none.jsonl", "dump"], "none.jsonl"),
        (["features", "dump", "cuts.jsonl"], "cuts.jsonl is a file; the order is CUTS DUMP"),
        (["decode", "dump", "cuts.jsonl", "--config", "decode.yaml"], "cuts.jsonl is a file; the order is DUMP EXP"),
        (["decode", "none", "exp", "--config", "decode.yaml"], "run stage 2 (features)"),
        (["decode", "dump", "exp", "--config", "none.yaml"], "none.yaml"),
        (["decode", "dump", "exp", "--config", "cuts.jsonl"], "cuts.jsonl is not YAML"),
        (["decode", "dump", "exp", "--config", "keys.yaml"], "decode has not begun with keys.yaml"),
    ],
)
def test_wrong_words(stage, monkeypatch, words, message):
    monkeypatch.chdir(stage)
    Path("keys.yaml").write_text("{systems: [{method: rap, 3: 4, 2024-01-01: 5}], null: 1}")
    result = CliRunner().invoke(main, ["progress", *words])
    assert result.exit_code != 0
    assert message in result.output
