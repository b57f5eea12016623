"""The command line: help without heavy imports, one clear line an error, exit statuses, what each command prints."""

from __future__ import annotations

import json
import logging
import re
import resource
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import soundfile
from click.testing import CliRunner, Result
from helpers.decoding import config_of, make_recordings
from helpers.fakes import in_child, make_corpus, speechlike
from helpers.tiny import make_tiny_qwen2_audio

from speechprune import __version__
from speechprune.cli import main
from speechprune.data import corpora
from speechprune.data.cuts import write_cuts

STAGES = ["download", "prepare", "features", "decode", "score", "report"]
COMMANDS = [*STAGES, "ask", "profile", "bench", "validate", "describe", "train-mini"]
ASK = ["What colour is the bag?", "--choice", "red", "--choice", "blue"]


def call(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def refused(*args: object) -> str:
    """The one line of an error."""
    result = call(*args)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    return result.stderr.removeprefix("Error: ").rstrip("\n")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_tiny_qwen2_audio(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def wav(tmp_path) -> Path:
    soundfile.write(tmp_path / "talk.wav", speechlike(2.0, 0), 16000)
    return tmp_path / "talk.wav"


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    for flag in ("--help", "-h"):
        result = call(command, flag)
        assert result.exit_code == 0
        assert result.stdout.startswith(f"Usage: main {command} ")
        assert main.commands[command].short_help in " ".join(result.stdout.split())


@pytest.mark.parametrize("command", ["features", "decode", "report", "ask", "profile", "bench"])
def test_help_names_only_options_that_the_command_has(command):
    text = call(command, "--help").stdout
    assert {f"--{word}" for word in re.findall(r"--([a-z][a-z-]*)", text)} <= {
        name for param in main.commands[command].params for name in (*param.opts, *param.secondary_opts)
    } | {"--help"}


def test_commands_are_listed_in_the_order_of_the_stages():
    lines = call("--help").stdout.split("Commands:\n")[1].splitlines()
    assert [name for name in (line[2:14].strip() for line in lines) if name in COMMANDS] == COMMANDS
    assert "..." not in "".join(lines)
    assert call("--version").stdout == f"speechprune, version {__version__}\n"


def test_help_needs_no_heavy_import():
    script = """
import sys, time
from speechprune.cli import main
for args in [["--help"], *([name, "--help"] for name in main.commands)]:
    try:
        main(args)
    except SystemExit as end:
        assert end.code == 0
heavy = {"torch", "torchaudio", "transformers", "lhotse", "matplotlib", "scipy", "numpy"} & set(sys.modules)
sys.stderr.write(f"{sorted(heavy)} {time.process_time()}")
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy, seconds = result.stderr.rsplit(" ", 1)
    assert heavy == "[]"
    assert float(seconds) < 0.5


# Errors


def test_errors_are_one_line_and_exit_1(tmp_path, model, wav):
    config = tmp_path / "decode.yaml"
    config_of(tmp_path)
    gone = tmp_path / "gone"
    decode = ["decode", gone, tmp_path / "exp", "--model", model]
    assert refused(*decode, "--config", config).startswith(f"no audio tokens in {gone}: ")
    assert refused(*decode, "--config", gone) == (
        f"no decode configuration {gone}; pass a YAML file such as conf/decode.yaml"
    )
    config.write_text("systems: [raq]")
    assert refused(*decode, "--config", config).startswith(
        f"{config}: systems: raq: unknown pruner 'raq'; choose from: "
    )
    assert refused("features", gone, tmp_path / "dump", "--model", model) == f"no such file: {gone}"
    assert refused("features", gone, tmp_path / "dump", "--model", "./gone").startswith(
        "./gone: no model folder at gone"
    )
    assert refused("features", gone, tmp_path / "dump", "--model", model, "--dtype", "int3").startswith(
        "unknown dtype 'i"
    )
    assert refused("validate", gone) == f"no such file: {gone}"
    assert refused("score", gone).endswith("run stage 3 (decode) first")
    assert refused("report", gone) == f"{gone / 'score.json'}: not found; run stage 4 (score) first"
    assert refused("download", "spirall", gone).startswith("unknown corpus 'spirall'; choose from: ")
    assert refused("prepare", "mini_sir", gone, tmp_path / "data").startswith(f"{gone}/test/scripts holds no script")
    assert refused("prepare", "mini_sir", gone, tmp_path / "data", "--tts", "festival").startswith(
        "unknown TTS engine 'festival'; choose from: "
    )
    assert refused("describe", gone, "--picture", "a.xyz") == "picture a.xyz: '.xyz'; choose from: .png, .pdf, .svg"
    assert refused("train-mini", gone, gone, "--part", "tune", "--part", "x").startswith(
        "unknown part 'x'; choose from: t"
    )
    assert refused("ask", gone, *ASK, "--model", model).startswith(f"{gone}: no such audio file")
    assert refused("ask", wav, *ASK[:3], "--model", model).startswith("1 choice for ")
    assert refused("ask", wav, *ASK, "--model", model, "--rate", 1).startswith("rate=1.0; the share of audio tokens")
    assert refused("ask", wav, *ASK, "--model", model, "--pruner", "x").startswith("unknown pruner 'x'; choose from: ")


def test_traceback_on_demand(tmp_path):
    command = [sys.executable, "-m", "speechprune", "score", str(tmp_path)]
    plain = subprocess.run(command, capture_output=True, text=True)
    assert (plain.returncode, plain.stdout) == (1, "")
    assert plain.stderr == f"Error: {tmp_path}: no hypotheses in any hyp*.jsonl below it; run stage 3 (decode) first\n"
    command.insert(3, "--traceback")
    full = subprocess.run(command, capture_output=True, text=True)
    assert full.returncode == 1
    assert full.stderr.startswith("Traceback (most recent call last)")
    assert full.stderr.rstrip().endswith("run stage 3 (decode) first")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["decode", "dump", "exp"], "Missing option '--config'"),
        (["features", "cuts"], "Missing argument 'DUMP'"),
        (["score", "exp", "--rate", "3"], "No such option"),
        (["features", "cuts", "dump", "--job", "5/3"], "job 5/3: expected JOB/JOBS with 1 <= JOB <= JOBS, as in 3/16"),
        (["features", "cuts", "dump", "--job", "x"], "job 'x': expected JOB/JOBS"),
        (["prepare", "mini_sir", "a", "b", "--sets", "test,,dev"], "'test,,dev' is no list of sets"),
        (["prepare", "mini_sir", "a", "b", "--sets", ""], "'' is no list of sets"),
        (["download", "mini_sir", "a", "--nj", "0"], "0 is not in the range x>=1"),
        (["train-mini", "a", "b", "--config", "gone.yaml"], "File 'gone.yaml' does not exist"),
        (["ask", "a.wav", "What?"], "Missing option '--choice'"),
    ],
)
def test_bad_usage_exits_2(args, message):
    result = call(*args)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


# Commands


def test_ask_prints_the_answer(model, wav):
    result = call("ask", wav, *ASK, "--model", model, "--pruner", "rap", "--rate", 0.96)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(("A. red\n", "B. blue\n"))
    assert "read 30 of 50 audio tokens (rap, rate 0.96)" in result.stdout
    assert result.stderr == ""


def test_ask_in_json(model, wav):
    result = call("ask", wav, *ASK, "--model", model, "--json", "--pruner", "full", "--query", "question", "--seed", 3)
    answer = json.loads(result.stdout)
    assert list(answer["probabilities"]) == ["red", "blue"]
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert (answer["tokens"], answer["total_tokens"], answer["pruner"], answer["rate"]) == (50, 50, "full", None)
    assert answer["kept"] == [[0.0, 2.0]]


def test_validate_lists_every_problem(tmp_path):
    cuts = make_corpus(tmp_path, 3, 1.0)
    for cut in cuts:
        cut.supervisions = []
        cut.custom["questions"][0]["evidence"] = None
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    good = call("validate", tmp_path / "cuts.jsonl")
    assert (good.exit_code, good.stdout) == (0, f"{tmp_path / 'cuts.jsonl'}: 3 cuts, no problems\n")
    cuts[0].custom["questions"][0]["answer"] = 7
    cuts[2].id = "test-0001"
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    with (tmp_path / "cuts.jsonl").open("a") as file:
        file.write("{\n")
    bad = call("validate", tmp_path)
    listed = bad.stdout.splitlines()
    assert bad.exit_code == 1
    assert bad.stderr == f"Error: {tmp_path}: {len(listed)} problems, listed above\n"
    assert listed[0].startswith(f"{tmp_path / 'cuts.jsonl'}:4: ")
    assert "test-0000: questions[0].answer: 7, expected an index below 4" in listed


def test_features_fails_only_where_writing_fails(tmp_path, model, caplog):
    caplog.set_level(logging.INFO)
    cuts = make_recordings(tmp_path)
    Path(cuts[1].recording.sources[0].source).unlink()
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    args = ["features", tmp_path / "cuts.jsonl", tmp_path / "dump", "--model", model, "--no-progress"]

    def on_a_full_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4500, 4500))
        result = call(*args)
        return result.exit_code, result.stderr

    code, stderr = in_child(on_a_full_disk)[1]
    assert code == 1
    assert stderr.startswith(f"Error: {tmp_path / 'dump'} is incomplete: ")
    assert "recordings could not be written" in stderr
    result = call(*args)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert "extracted, " in caplog.text
    assert ", 1 failed, 1 problems\n  test-0001: audio_tokens: " in caplog.text


def test_download_and_prepare_find_a_corpus_by_name(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    calls, cuts = [], make_corpus(tmp_path, 2, 1.0)
    module = ModuleType("speechprune.recipes.birds")
    module.prepare_birds = lambda *args, **options: calls.append((args, options)) or {"dev": cuts}
    found = {"birds": module, "helpers": ModuleType("speechprune.recipes.helpers")}
    monkeypatch.setattr(corpora, "submodules", lambda package: found)
    assert list(corpora.corpora()) == ["birds"]
    assert refused("download", "helpers", tmp_path) == "unknown corpus 'helpers'; choose from: birds"
    assert refused("download", "birds", tmp_path).startswith("corpus birds has no download_birds; ")
    assert call("prepare", "birds", "raw", "data", "--sets", "dev, test").exit_code == 0
    assert "dev: 2 recordings, 0.00 h, 2 questions" in caplog.text
    module.download_birds = lambda *args, **options: calls.append((args, options))
    assert call("download", "birds", "raw", "--nj", 3).exit_code == 0
    assert calls == [
        ((Path("raw"), Path("data")), {"sets": ["dev", "test"]}),
        ((Path("raw"),), {"sets": ["test"], "nj": 3}),
    ]


def test_the_shipped_corpora_are_found():
    assert "mini_sir" in corpora.corpora()
    assert callable(corpora.corpus_function("download", "mini_sir"))
