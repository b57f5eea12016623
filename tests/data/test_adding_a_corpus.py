"""docs/adding-a-corpus.md, done as it says; and what ``speechprune new`` and ``speechprune clone`` make."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.shells import ROOT, bash

import speechprune
from speechprune.cli import main
from speechprune.data.clones import begin, clone, recipes
from speechprune.data.corpora import corpora
from speechprune.decoding.systems import load_config

PAGE = (ROOT / "docs" / "adding-a-corpus.md").read_text()
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ENVIRONMENT = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def test_the_document(tmp_path):
    """All blocks up to the table; decoding is what every recipe does, and tested there."""
    assert len(BLOCKS) == 4
    assert BLOCKS[3].strip() == "./run.sh --stage 2 --stop-stage 5"
    script = "set -euo pipefail\n" + "".join(BLOCKS[:3])
    result = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=os.environ | ENVIRONMENT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    cuts = "data/test/cuts.jsonl.gz"
    assert f"{cuts}: 3 cuts, no problems" in result.stdout
    assert "  A 1, B 1, C 1\n" in result.stdout
    assert "corpus      my_talks 3" in result.stdout
    assert "Cuts count:" in result.stdout
    assert (tmp_path / "my_talks/data/test/description.png").is_file()
    assert not (tmp_path / "my_talks/data/test/problems.txt").exists()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_every_recipe_can_be_cloned_and_runs_by_the_installed_driver(tmp_path):
    assert {"mini_sir", "spiral", "dream_tts", "cn_college_listen"} <= recipes().keys()
    assert "template" not in recipes()
    for name in recipes():
        folder = clone(name, tmp_path / name)
        theirs = files(ROOT / "egs" / name)
        expected = {path for path in theirs if path == "run.sh" or re.fullmatch(r"conf/[^/]+\.yaml", path)}
        assert files(folder) == expected | {".gitignore"}
        for path in expected - {"run.sh"}:
            assert (folder / path).read_bytes() == (ROOT / "egs" / name / path).read_bytes()
        result = bash(folder / "run.sh", "--help", cwd=tmp_path, env=ENVIRONMENT, seconds=60)
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith("Usage: ./run.sh")
        assert "../../" not in (folder / "run.sh").read_text()


def test_a_clone_keeps_the_settings_of_its_machine_out_of_git(tmp_path):
    folder = clone("mini_sir", tmp_path / "here")
    (folder / "conf/site.sh").write_text("nj=7\n")
    usage = bash(folder / "run.sh", "--help", cwd=tmp_path, env=ENVIRONMENT, seconds=60).stdout
    assert re.search(r"--nj +7 ", usage)
    subprocess.run(["git", "init", "-q", folder], check=True)
    (folder / "downloads").mkdir()
    (folder / "downloads/a.wav").touch()
    status = ["git", "-C", folder, "status", "--porcelain", "--untracked-files=all"]
    shown = subprocess.run(status, check=True, capture_output=True, text=True).stdout
    configurations = sorted(f"conf/{path.name}" for path in (ROOT / "egs/mini_sir/conf").glob("*.yaml"))
    assert shown.split()[1::2] == [".gitignore", *configurations, "run.sh"]


def test_a_clone_without_the_command_says_so(tmp_path):
    folder = clone("mini_sir", tmp_path / "here")
    result = bash(folder / "run.sh", cwd=tmp_path, env={"PATH": "/usr/bin:/bin"})
    assert result.returncode != 0
    assert result.stderr.rstrip().endswith("speechprune: command not found")


def test_recipes_lists_what_can_be_cloned():
    lines = CliRunner().invoke(main, ["recipes"]).stdout.splitlines()
    assert [line.split()[0] for line in lines] == sorted(recipes())
    assert "mini_sir           dialogues of our own, spoken by a synthesiser, with the mini model that ships." in lines


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["new", "My-Talks", "new"], "'My-Talks' is no name of a corpus"),
        (["new", "../x", "new"], "'../x' is no name of a corpus"),
        (["new", "template", "new"], "'template' is no name of a corpus"),
        (["new", "mini_sir", "new"], "there is a corpus mini_sir already"),
        (["new", "my_talks", "there"], "there is there already"),
        (["clone", "spiral", "there"], "there is there already"),
        (["clone", "../recipes", "new"], "unknown recipe '../recipes'; choose from: build_sir, cn_college_listen, "),
    ],
)
def test_what_cannot_be_made_leaves_nothing(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_its_systems_need_no_evidence(tmp_path):
    """A corpus without any would get a table of error rows."""
    systems = load_config(begin("my_talks", tmp_path / "here") / "conf/decode.yaml").systems
    assert {system.audio for system in systems} == {"recording", "silence"}
    assert {"original", "full", "rap", "rac", "phase1", "phase2", "speechprune"} < {system.name for system in systems}


def test_in_a_checkout_the_corpus_joins_the_others(tmp_path, monkeypatch):
    corpora()  # imports the rooms of this checkout
    for room in ("recipes", "local", "utils", "egs/template"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "site.sh"))
    monkeypatch.setattr(speechprune, "__path__", [str(ROOT / "speechprune"), str(tmp_path)])
    folder = begin("my_talks", tmp_path / "egs/my_talks")
    assert files(folder) == {"run.sh", "conf/decode.yaml"}
    assert "exec ../../local/sir.sh" in (folder / "run.sh").read_text()
    assert (tmp_path / "recipes/my_talks.py").is_file()
    with pytest.raises(FileExistsError, match="there is a corpus my_talks already"):
        begin("my_talks", tmp_path / "egs/other")


def test_what_new_writes_passes_the_checks(tmp_path):
    """As it stands in a checkout, beside the package that it imports."""
    (tmp_path / "recipes").mkdir()
    shutil.copy(begin("my_talks", tmp_path / "here") / "recipes/my_talks.py", tmp_path / "recipes")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "speechprune").symlink_to(ROOT / "speechprune")
    ruff = str(Path(sys.executable).parent / "ruff")
    for words in (["check"], ["format", "--check"]):
        result = subprocess.run([ruff, *words, "recipes"], cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout


def test_the_template_is_no_corpus():
    assert "template" not in corpora()
