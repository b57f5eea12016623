"""docs/adding-a-corpus.md, done as it says in a copy of the checkout; and utils/new_recipe.sh."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.shells import ROOT, bash

PAGE = (ROOT / "docs" / "adding-a-corpus.md").read_text()
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def checkout(tmp_path):
    """The rooms of the checkout, its environment first in the PATH, and imports from the copy."""
    top = tmp_path / "copy"
    for room in ("local", "utils", "recipes", "speechprune"):
        shutil.copytree(ROOT / room, top / room, ignore=shutil.ignore_patterns("__pycache__", "site.sh", "checkpoint"))
    shutil.copytree(ROOT / "egs/spiral/conf", top / "egs/spiral/conf")
    shutil.copy(ROOT / "setup.py", top)
    return top


def environment(top: Path) -> dict:
    return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(top)}


def test_the_document(checkout):
    """All blocks up to the table; decoding is what every recipe does, and tested there."""
    assert len(BLOCKS) == 5
    assert BLOCKS[4].strip() == "./run.sh --stage 2 --stop-stage 5"
    script = "set -euo pipefail\n" + "".join(BLOCKS[:4])
    result = subprocess.run(
        ["bash", "-c", script], cwd=checkout, env=os.environ | environment(checkout), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    cuts = "data/test/cuts.jsonl.gz"
    assert f"{cuts}: 3 cuts, no problems" in result.stdout
    assert "A 1, B 1, C 1; always 'A': 33.33 %" in result.stdout
    assert "Cuts count:" in result.stdout
    assert (checkout / "egs/my_talks/data/test/description.png").is_file()
    assert not (checkout / "egs/my_talks/data/test/problems.txt").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Usage: new_recipe.sh NAME"),
        (["a", "b"], "Usage: new_recipe.sh NAME"),
        (["My-Talks"], "My-Talks is no name of a corpus"),
        (["../x"], "../x is no name of a corpus"),
        (["x y"], r"x\ y is no name of a corpus"),
        (["mini_sir"], "recipes/mini_sir.py is there already"),
    ],
)
def test_a_bad_name_makes_nothing(checkout, words, message):
    before = sorted(checkout.rglob("*"))
    result = bash(checkout / "utils/new_recipe.sh", *words, cwd=checkout)
    assert result.returncode != 0
    assert message in result.stderr
    assert sorted(checkout.rglob("*")) == before


def test_what_it_writes_passes_the_checks(checkout):
    assert bash(checkout / "utils/new_recipe.sh", "my_talks", cwd=checkout).returncode == 0
    shutil.copy(ROOT / "pyproject.toml", checkout)
    ruff = [str(Path(sys.executable).parent / "ruff")]
    for words in (["check"], ["format", "--check"]):
        result = subprocess.run([*ruff, *words, "recipes/my_talks.py"], cwd=checkout, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout
