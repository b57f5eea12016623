"""`speechprune progress`: exact where a stage has ended, never complete before, and cheap to ask."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from helpers.decoding import CONFIG, config_of, make_dump, make_recordings, merged, run, tiny_llm
from helpers.fakes import extract, make_corpus, rows
from helpers.many_rows import make_many
from helpers.shells import ROOT

from speechprune.cli import main
from speechprune.data.cuts import write_cuts
from speechprune.decoding.progress import ORDINARY, _begun, _systems, count_recordings, count_rows
from speechprune.decoding.systems import SETTINGS, load_config

ENTRIES = [
    "original",
    {"method": "rap", "rates": [0.2, 0.6]},
    {"name": "turned", "method": "full", "permute": "cyclic"},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_llm(tmp_path_factory.mktemp("model"))


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
    return count_rows(stage / "dump", stage / "exp", stage / "decode.yaml", **options)


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


def test_the_configuration_says_what_is_expected_and_not_the_folders(stage):
    configure(stage, "original", {"method": "rap", "rates": [0.2, 0.6, 0.8]})
    assert counted(stage) == (3 * 13, 4 * 13)  # 0.8 is new, `turned` is of an earlier configuration
    configure(stage, "original", "rap", rates=[0.2])
    assert counted(stage) == (2 * 13, 2 * 13)  # original has no rates; its config.json says so
    configure(stage, "original", {"name": "other", "method": "rap"}, rates=[0.2, 0.6])
    assert counted(stage) == (13, 3 * 13)
    configure(stage, "original", "full")
    assert counted(stage, permute="cyclic")[0] == 0  # the rows of original are not rotated


def test_rows_that_decode_would_refuse_do_not_count(stage):
    configure(stage, "original", {"method": "rap", "rates": [0.2]})
    assert counted(stage) == (2 * 13, 2 * 13)
    assert counted(stage, mode="logprob") == (2 * 13, 2 * 13)
    assert counted(stage, mode="generate") == (0, 2 * 13)
    configure(stage, {"method": "original", "mode": "generate"}, {"method": "rap", "rates": [0.2]})
    assert counted(stage) == (13, 2 * 13)
    config = stage / "exp" / "original" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"mode": "generate"}))
    assert counted(stage) == (2 * 13, 2 * 13)
    assert counted(stage, mode="logprob") == (13, 2 * 13)
    config.write_text("{")
    assert counted(stage) == (13, 2 * 13)
    config.unlink()  # decode would write it and go on
    assert counted(stage) == (2 * 13, 2 * 13)


def test_many_files_are_one_number(tmp_path):
    make_many(tmp_path, shards=20, recordings=40)
    assert counted(tmp_path) == (25 * 200, 25 * 200)
    (tmp_path / "exp" / "rap_0.4" / "hyp.20.jsonl").unlink()
    assert counted(tmp_path) == (25 * 200 - 10, 25 * 200)


def test_what_nothing_has_begun_is_not_complete(stage):
    shutil.rmtree(stage / "exp")
    done, expected = counted(stage)
    assert done == 0 < expected
    configure(stage, "rap", "original", rates=[0.2, 0.6])
    assert counted(stage) == (0, 2 * 13)


def test_rows_of_recordings_that_the_dump_has_no_more_do_not_count(stage):
    listing = stage / "dump" / "recordings.json"
    _, expected = counted(stage)
    listing.write_text(json.dumps(json.loads(listing.read_text())[1:]))
    fewer = counted(stage)
    assert fewer[0] == fewer[1] < expected
    listing.unlink()
    with pytest.raises(FileNotFoundError, match=r"recordings.json is missing; run stage 2"):
        counted(stage)


@pytest.mark.parametrize("path", sorted(ROOT.glob("egs/*/conf/decode.yaml")), ids=lambda path: path.parts[-3])
def test_the_folders_are_those_of_decode(path, tmp_path):
    claim(tmp_path, path)
    assert _systems(_begun(tmp_path), path, None, None) == asked(path)


def test_settings_of_systems_are_those_of_decode(tmp_path):
    path = tmp_path / "decode.yaml"
    common = CONFIG | {"permute": "cyclic", "mode": "generate", "rates": [0.0, 0.25, 0.125]}
    plain = {"method": "rac", "permute": "none", "mode": "logprob"}
    path.write_text(yaml.safe_dump(common | {"systems": [*common["systems"], "oracle", plain]}))
    claim(tmp_path, path)
    assert _systems(_begun(tmp_path), path, None, None) == asked(path)
    assert _systems(_begun(tmp_path), path, "none", "generate") == asked(path, permute="none", mode="generate")
    assert {key: SETTINGS[key][0] for key in ORDINARY} == ORDINARY


def asked(config: Path, **changed: str) -> dict[str, dict]:
    systems = load_config(config).changed(**changed).systems
    return {system.folder: {"permute": system.permute, "mode": system.mode} for system in systems}


def claim(exp: Path, config: Path) -> None:
    """What decode writes before its first row."""
    for system in load_config(config).systems:
        (exp / system.folder).mkdir()
        (exp / system.folder / "config.json").write_text(json.dumps(system.describe()))


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
    assert result.stdout.splitlines() == ["{}/{} rows".format(*counted(stage)), "4/4 recordings, 2 failed", "[]"]


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
        (["decode", "dump", "exp", "--config", "cuts.jsonl"], "cuts.jsonl is no configuration that decode takes"),
    ],
)
def test_wrong_words(stage, monkeypatch, words, message):
    monkeypatch.chdir(stage)
    result = CliRunner().invoke(main, ["progress", *words])
    assert result.exit_code != 0
    assert message in result.output
