"""local/compose.sh, run through egs/compose/run.sh with a `speechprune` that records its calls."""

from __future__ import annotations

import shutil

import pytest
from helpers.driving import Recipe
from helpers.shells import ROOT

ENCODER, LLM = "openai/whisper-tiny.en", "HuggingFaceTB/SmolLM2-135M-Instruct"
OUT = "exp/whisper-tiny.en_SmolLM2-135M-Instruct"


@pytest.fixture
def recipe(tmp_path):
    made = Recipe(tmp_path)
    made.egs = made.top / "egs/compose"
    shutil.copytree(ROOT / "egs/compose", made.egs, ignore=shutil.ignore_patterns("delta", "exp"))
    (made.egs / OUT / "align").mkdir(parents=True)
    (made.egs / OUT / "align/accuracy.md").write_text("| accuracy |\n")
    return made


def call(
    part: str, *more: str, encoder: str = ENCODER, llm: str = LLM, out: str = OUT, options: tuple = ()
) -> list[str]:
    parts = ["--encoder", encoder, "--llm", llm, "--config", "conf/compose.yaml", "--device", "auto", *options]
    return ["train-composed", out, *parts, "--part", part, *more]


def test_help_prints_the_stages_of_this_recipe(recipe):
    result = recipe.run("--help")
    assert result.returncode == 0
    for stage, name in enumerate(("text", "speech", "align", "read", "export")):
        assert f"\n  {stage}  {name}" in result.stdout
    assert f"What they write is in {OUT}/." in result.stdout
    assert "--max-jobs-run" in result.stdout
    assert recipe.recorded() == []


def test_all_stages_in_order_with_speech_in_jobs(recipe):
    result = recipe.run("--nj", "2")
    assert result.returncode == 0, result.stderr
    calls = recipe.recorded()
    jobs = [call("speech", "--job", f"{job}/2") for job in (1, 2)]
    assert sorted(calls[1:3]) == jobs
    assert [calls[0], *calls[3:]] == [call(part) for part in ("text", "align", "read", "export")]
    assert "| accuracy |" in result.stdout
    assert f"{OUT}/model" in result.stdout + result.stderr


def test_parts_and_files_are_options(recipe):
    options = ("--text", "a b.txt", "--voices", "cast.txt", "--from-delta", "delta")
    result = recipe.run("--encoder", "w/", "--llm=/l/m", *options, "--stage", "2", "--stop-stage", "2", "--out", "x y")
    assert result.returncode == 1  # the fake writes no accuracy.md
    assert recipe.recorded() == [call("align", encoder="w/", llm="/l/m", out="x y", options=options)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--llm="], "--llm: give a causal LLM"),
        (["--encoder="], "--encoder: give a Whisper"),
        (["--config", "no.yaml"], "--config: there is no file 'no.yaml'"),
        (["--stage", "5"], "--stage: '5' is not a stage: give a whole number from 0 to 4"),
        (["--cmd", "slurm", "--detach", "true"], "--detach: give --stop-stage 1"),
    ],
)
def test_what_cannot_run_is_said_before_anything_runs(recipe, words, message):
    result = recipe.run(*words)
    assert result.returncode == 2
    assert message in result.stderr
    assert recipe.recorded() == []
