"""local/build_sir.sh, run through egs/build_sir/run.sh with a `speechprune` that records its calls."""

from __future__ import annotations

import shutil

import pytest
from helpers.driving import Recipe
from helpers.shells import ROOT

OUT = "exp/my_sir"
ALL = [
    ["plan", OUT, "--samples", "60", "--splits", "test=1", "--seed", "0"],
    ["write", OUT, "--writer", "grammar"],
    ["check", OUT, "--seed", "0"],
    ["speak", OUT, "--tts", "espeak", "--nj", "2"],
    ["quality", f"my_sir={OUT}/spoken/cuts.jsonl.gz", f"{OUT}/quality"],
]


def publish(kept: str, *made_by: str) -> list[str]:
    options = ["--name", "my_sir", "--cuts", kept, "--sheet", "20", "--seed", "0"]
    return ["publish", OUT, *options, *(f"--made-by={line}" for line in made_by)]


@pytest.fixture
def recipe(tmp_path):
    made = Recipe(tmp_path)
    made.egs = made.top / "egs/build_sir"
    shutil.copytree(ROOT / "egs/build_sir", made.egs, ignore=shutil.ignore_patterns("exp"))
    (made.egs / OUT / "quality").mkdir(parents=True)
    (made.egs / OUT / "quality/QUALITY.md").write_text("| quality |\n")
    return made


def test_help_prints_the_stages_of_this_recipe(recipe):
    result = recipe.run("--help")
    assert result.returncode == 0
    for stage, name in enumerate(("topics", "write", "check", "speak", "quality", "publish")):
        assert f"\n  {stage}  {name}" in result.stdout
    assert f"What they write is in {OUT}/." in result.stdout
    assert recipe.recorded() == []


def test_all_stages_in_order(recipe):
    result = recipe.run()
    assert result.returncode == 0, result.stderr
    made_by = [" ".join(["speechprune", *call]).removesuffix(" --nj 2") for call in ALL]
    assert recipe.recorded() == [*ALL, publish(f"{OUT}/spoken/cuts.jsonl.gz", *made_by)]
    assert "| quality |" in result.stdout
    assert "sir.sh --corpus benchmark --corpus-dir my_sir" in result.stdout


def test_options_reach_the_stages_that_take_them(recipe):
    endpoint = ["--model", "m", "--base-url", "http://x/v1", "--price", "1,2", "--max-cost", "3"]
    given = ["--llm", "m", "--base-url", "http://x/v1", "--price", "1,2", "--max-cost", "3", "--writer", "endpoint"]
    given += [
        "--answerable",
        "true",
        "--allow-skew",
        "true",
        "--balance",
        "true",
        "--topics",
        "a b.yaml",
        "--seconds",
        "60,90",
    ]
    given += ["--voices", "cast.txt", "--level", "-20", "--asr", "w", "--max-wer", "0.2", "--min-mos", "2.5"]
    result = recipe.run(*given, "--stop-stage", "4")
    assert result.returncode == 0, result.stderr
    plan, write, check, speak, quality = recipe.recorded()
    assert plan == [*ALL[0], "--topics", "a b.yaml", "--seconds", "60,90"]
    assert write == ["write", OUT, "--writer", "endpoint", *endpoint]
    assert check == [*ALL[2], "--allow-skew", "--balance", "--answerable", *endpoint]
    assert speak == ["speak", OUT, "--tts", "espeak", "--voices", "cast.txt", "--level", "-20", "--nj", "2"]
    assert quality == [*ALL[4], "--asr", "w", "--max-wer", "0.2", "--min-mos", "2.5"]


def test_what_the_quality_dropped_is_not_published(recipe):
    words = ["--stage", "5", "--max-wer", "0.2"]
    kept = f"{OUT}/quality/my_sir/cuts.jsonl.gz"
    result = recipe.run(*words)
    assert (result.returncode, f"there is no '{kept}' to publish; run stage 4 first" in result.stderr) == (2, True)
    (recipe.egs / kept).parent.mkdir()
    (recipe.egs / kept).touch()
    assert recipe.run(*words).returncode == 0
    (call,) = recipe.recorded()
    assert call[:6] == publish(kept)[:6]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--name", "a b"], "--name: 'a b' is not the name of a corpus"),
        (["--samples", "0"], "--samples: '0' is not a number of samples"),
        (["--answerable", "yes"], "--answerable: 'yes' is not true or false"),
        (["--stage", "5"], "there is no 'exp/my_sir/spoken/cuts.jsonl.gz' to publish; run stage 3 first"),
        (["--stage", "6"], "--stage: '6' is not a stage: give a whole number from 0 to 5"),
    ],
)
def test_what_cannot_run_is_said_before_anything_runs(recipe, words, message):
    result = recipe.run(*words)
    assert result.returncode == 2
    assert message in result.stderr
    assert recipe.recorded() == []
