"""local/sir.sh, the stage driver, run through egs/mini_sir/run.sh with a `speechprune` that records its calls."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from helpers.driving import ALL, Recipe, decode, features, report, score


@pytest.fixture
def recipe(tmp_path):
    return Recipe(tmp_path)


def test_all_stages(recipe):
    result = recipe.run()
    assert result.returncode == 0, result.stderr
    assert recipe.calls() == ALL
    stages = re.findall(r"^\S+ \(sir\.sh:\d+:main\) (Stage \d: \w+: .*)$", result.stdout, re.MULTILINE)
    assert [line.split(":")[0] for line in stages] == [f"Stage {number}" for number in range(6)]
    assert "Stage 3: decode: dump/mini/test -> exp/mini/test" in stages
    assert "| table of exp/mini/test |" in result.stdout
    assert "## More" not in result.stdout and "tables\n" not in result.stdout
    assert "# Ended (code 0)" in (recipe.egs / "dump/mini/test/log/features.2.log").read_text()
    assert "# Ended (code 0)" in (recipe.egs / "exp/mini/test/log/decode.2.log").read_text()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--stage", "3", "--stop-stage", "4"], ALL[4:7]),
        (["--stage=3", "--stop-stage=4"], ALL[4:7]),
        (["--stage=4", "--stop-stage=4"], ALL[6:7]),
        (["--stop-stage", "1"], ALL[:2]),
        (["--stage", "5"], ALL[7:]),
        (["--stage", "3", "--stop-stage", "3", "--nj", "1"], [decode("1/1")]),
    ],
)
def test_stage_selection(recipe, words, expected):
    result = recipe.run(*words)
    assert result.returncode == 0, result.stderr
    assert recipe.calls() == expected


@pytest.mark.parametrize(
    ("words", "last"),
    [
        ([], ["Look at exp/mini/test/report.html; tables: exp/mini/test/RESULTS.md"]),
        (["--stop-stage=4"], ["Look at exp/mini/test/RESULTS.md"]),
        (["--stage=5"], ["Look at exp/mini/test/report.html"]),
        (
            ["--stage=4", "--stop-stage=4", "--sets=test,dev"],
            [f"Look at exp/mini/{s}/RESULTS.md" for s in ("test", "dev")],
        ),
        (["--stop-stage=3"], []),
    ],
)
def test_the_last_lines_say_where_to_look(recipe, words, last):
    lines = recipe.run(*words).stdout.splitlines()
    last = [line.replace("exp/", f"{recipe.egs}/exp/") for line in last]
    assert [line for line in lines if line.startswith("Look at")] == last
    assert lines[len(lines) - len(last) :] == last
    assert ": done in " in lines[-1 - len(last)]


def test_works_from_another_directory(recipe, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert recipe.run(cwd=elsewhere).returncode == 0
    assert recipe.calls() == ALL
    assert list(elsewhere.iterdir()) == []
    assert (recipe.egs / "exp/mini/test/RESULTS.md").exists()


def test_paths_with_spaces(recipe):
    folder = "/data/my corpora/$(touch x)"
    assert recipe.run("--stop-stage", "1", "--corpus-dir", folder).returncode == 0
    assert [call[:3] for call in recipe.calls()] == [["prepare", "mini_sir", folder]]
    assert not (recipe.egs / "x").exists()


def test_a_corpus_of_the_users_own_is_only_read(recipe):
    """Stage 0 writes into the corpus' folder, so it leaves theirs alone."""
    result = recipe.run("--stop-stage", "1", "--corpus-dir", "/data/mine")
    assert "Stage 0: nothing to do: mini_sir is yours, in /data/mine, and only read" in result.stderr + result.stdout
    assert [call[0] for call in recipe.calls()] == ["prepare"]


@pytest.mark.parametrize("model", ["hub/my model", "/models/my model", "models/my model//"])
def test_the_model_names_the_folders(recipe, model):
    assert recipe.run("--stage=2", "--stop-stage=3", "--nj=1", "--model", model).returncode == 0
    assert recipe.calls() == [features("1/1", model, "my model"), decode("1/1", model, "my model")]


@pytest.mark.parametrize("option", ["tts", "voices", "level", "aligner"])
def test_options_of_the_corpus_go_to_stages_0_and_1(recipe, option):
    assert recipe.run(f"--{option}", "an engine", "--stop-stage", "2").returncode == 0
    calls = recipe.calls()
    assert [call[-2:] for call in calls[:2]] == [[f"--{option}", "an engine"]] * 2
    assert calls[2:] == ALL[2:4]


def test_several_sets(recipe):
    assert recipe.run("--sets", "test,dev", "--stop-stage", "1").returncode == 0
    assert [call[-3] for call in recipe.calls()] == ["test,dev", "test,dev"]
    recipe.record.unlink()
    assert recipe.run("--sets", "test,dev", "--stage=4", "--stop-stage=4").returncode == 0
    assert recipe.calls() == [score(set_name="test"), score(set_name="dev")]


def test_training(recipe):
    (recipe.egs / "conf" / "train.yaml").write_text("")
    assert recipe.run("--train", "true", "--train-sets", "train,dev", "--nj=1").returncode == 0
    model = "exp/train_mini/model"
    assert recipe.calls() == [
        ["download", "mini_sir", "downloads/mini_sir", "--sets", "test,train,dev", "--nj", "1"],
        ["prepare", "mini_sir", "downloads/mini_sir", "data", "--sets", "test,train,dev", "--nj", "1"],
        ["train-mini", "data", "exp/train_mini", "--config", "conf/train.yaml"],
        features("1/1", model, "model"),
        decode("1/1", model, "model"),
        score(model, "model"),
        report(model, "model"),
    ]


def test_the_figure_that_needs_the_model_can_be_left_out(recipe):
    assert recipe.run("--stage=5", "--embedding=false").returncode == 0
    assert recipe.calls() == [report(embedding=False)]
    assert "'maybe' is not true or false" in recipe.run("--embedding=maybe").stderr


def test_a_set_wanted_twice_is_prepared_once(recipe):
    words = ["--train=true", "--sets=dev,test", "--train-sets=train,dev", "--stage=1", "--stop-stage=1"]
    assert recipe.run(*words).returncode == 0
    assert recipe.calls()[0][-3] == "dev,test,train"


@pytest.mark.parametrize(("words", "trains"), [(["--stop-stage=1"], 0), (["--stage=2"], 1), (["--stage=3"], 0)])
def test_training_belongs_before_stage_2(recipe, words, trains):
    assert recipe.run("--train=true", *words).returncode == 0
    assert [call[0] for call in recipe.calls()].count("train-mini") == trains


def test_help_shows_stages_paths_and_options(recipe):
    result = recipe.run("--help", "--model", "hub/big", "--sets=test,dev")
    assert (result.returncode, result.stderr) == (0, "")
    for words in (
        r"0  download .* -> downloads/mini_sir .not with --corpus-dir.$",
        r"1  prepare +downloads/mini_sir -> data/{test,dev}/cuts.jsonl.gz$",
        r"2  features +data/{test,dev}/cuts.jsonl.gz, .* -> dump/big/{test,dev}/$",
        r"3  decode +dump/big/{test,dev}/, conf/decode.yaml, .* -> exp/big/{test,dev}/<system>/hyp.\*.jsonl$",
        r"4  score .* -> exp/big/{test,dev}/RESULTS.md, score.json, score.csv$",
        r"5  report .* -> exp/big/{test,dev}/report.html, ",
        r"--stage +0 ",
        r"--stop-stage +5 ",
        r"--corpus-dir +downloads/mini_sir ",
        r"--model +hub/big ",
        r"--nj +2 ",
    ):
        assert re.search(r"^ +" + words, result.stdout, re.MULTILINE), words
    assert recipe.calls() == []


def test_help_lists_every_option(recipe):
    valid = re.search(r"valid ones are: (.*)", recipe.run("--x").stderr)[1].split()
    listed = re.findall(r"^  (--[a-z-]+) ", recipe.run("--help").stdout, re.MULTILINE)
    assert sorted(listed) == sorted(set(valid) - {"--help"})


def test_helps_columns_hold_the_longest_option(recipe):
    result = recipe.run("--help", "--model", "/a/path/that/is/longer/than/most/of/them")
    lines = re.findall(r"^  --.*", result.stdout, re.MULTILINE)
    texts = {"first stage to run", "with slurm: jobs of an array that run at once", "the sets it is trained on"}
    assert len({line.index(text) for line in lines for text in texts if text in line}) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stge", "3"], "unknown option --stge"),
        (["--stage"], "option --stage has no value"),
        (["--stage", "6"], "--stage: '6' is not a stage: give a whole number from 0 to 5"),
        (["--stage", "3.5"], "--stage: '3.5'"),
        (["--stage", "x[$(touch x)]"], "--stage: 'x[$(touch x)]'"),
        (["--stage="], "--stage: ''"),
        (["--stage", "4", "--stop-stage", "3"], "--stop-stage: 3 comes before --stage 4"),
        (["--nj", "0"], "--nj: '0' is not a number of jobs"),
        (["--nj", "two"], "--nj: 'two'"),
        (["--train", "yes"], "--train: 'yes' is not true or false"),
        (["--sets", "test, dev"], "--sets: 'test, dev'"),
        (["--sets", "../test"], "--sets: '../test'"),
        (["--corpus="], "--corpus: ''"),
        (["--model", "."], "--model: '.'"),
        (["--config", "none.yaml"], "--config: there is no file 'none.yaml'"),
        (["--cmd", "pbs"], "--cmd: 'pbs' is unknown; the valid ones are: local slurm"),
        (["--detach", "yes"], "--detach: 'yes' is not true or false"),
        (["--detach", "true"], "--detach: jobs of this machine end with the driver; give --cmd slurm"),
        (["--cmd=slurm", "--detach=true", "--retries=1"], "--retries: after --detach nobody is there to try again"),
    ],
)
def test_a_wrong_value_stops_the_driver_before_any_stage(recipe, words, message):
    result = recipe.run(*words)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert recipe.calls() == []
    assert not (recipe.egs / "x").exists()


@pytest.mark.parametrize("command", ["download", "prepare", "features", "decode", "score"])
def test_a_failing_stage_stops_the_driver(recipe, command):
    result = recipe.run("--nj", "1", env={"FAIL": command})
    assert result.returncode != 0
    assert recipe.calls()[-1][0] == command
    if command == "decode":
        assert "job 1 failed: exit code 3; log: exp/mini/test/log/decode.1.log" in result.stderr
        assert "the reason" in result.stderr


def test_parallel_jobs_share_the_cores(recipe):
    recipe.run("--stage=2", "--stop-stage=2", "--nj", "1")
    recipe.run("--stage=2", "--stop-stage=2", "--nj", "99")
    recipe.run("--stage=2", "--stop-stage=2", "--nj", "1", env={"OMP_NUM_THREADS": "7"})
    threads = [line.split()[1] for line in Path(f"{recipe.record}.threads").read_text().splitlines()]
    assert threads[0] == str(len(os.sched_getaffinity(0)))
    assert set(threads[1:-1]) == {"1"}
    assert threads[-1] == "7"


def test_site_settings_are_defaults(recipe):
    (recipe.top / "local/site.sh").write_text("nj=3\n")
    recipe.run("--stop-stage=0")
    recipe.run("--stop-stage=0", "--nj=1")
    assert sorted(call[-1] for call in recipe.calls()) == ["1", "3"]


def test_a_recipes_own_slurm_conf_is_read(recipe):
    (recipe.egs / "conf" / "slurm.conf").write_text("command sites_sbatch\n")
    result = recipe.run("--stage=2", env={"SPEECHPRUNE_CMD": "slurm"})
    assert result.returncode == 1
    assert "cannot start sites_sbatch" in result.stderr
    assert recipe.calls() == []


def test_path_sh_finds_the_checkouts_own_environment(recipe):
    own = recipe.top / ".venv/bin"
    own.mkdir(parents=True)
    (own / "speechprune").write_text("#!/bin/sh\necho own >> own\n")
    (own / "speechprune").chmod(0o755)
    recipe.run("--stop-stage=0")
    assert not (recipe.egs / "own").exists()  # the one in the PATH goes first
    result = recipe.run("--stop-stage=0", env={"PATH": "/usr/bin:/bin"})
    assert result.returncode == 0, result.stderr
    assert (recipe.egs / "own").read_text() == "own\n"


def test_a_missing_installation_is_explained(recipe):
    result = recipe.run(env={"PATH": "/usr/bin:/bin"})
    assert result.returncode == 2
    assert "speechprune is not installed; type: make env" in result.stderr
