"""The built wheel, where no checkout can be imported: a clone of mini_sir, with a corpus and a pruner of one's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from helpers.shells import ENVIRONMENT, ROOT

ROOMS = ("speechprune", "recipes", "local", "utils", "egs")
# Three of mini_sir's dialogues.
CORPUS = """
from dataclasses import replace

from speechprune.recipes import mini_sir

mini_sir.SETS["few"] = replace(mini_sir.SETS["test"], recordings=3)
download_few_sir, prepare_few_sir = mini_sir.download_mini_sir, mini_sir.prepare_mini_sir
"""
PRUNER = """
from dataclasses import dataclass

from speechprune.pruners import RAP


@dataclass(frozen=True)
class Mine(RAP):
    name = "mine"
"""
SYSTEMS = "query: question+choices\nrates: [0.4]\nsystems: [original, full, mine, speechprune]\n"


def run(*words: str | Path, **options) -> subprocess.CompletedProcess:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy: setuptools writes into the folder that it builds from."""
    top = tmp_path_factory.mktemp("source")
    for name in ROOMS:
        junk = shutil.ignore_patterns("__pycache__", "downloads", "data" if name == "egs" else "", "dump", "exp")
        shutil.copytree(ROOT / name, top / name, ignore=junk)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, top)
    (top / "local" / "site.sh").write_text("nj=16  # of one machine\n")
    run(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", top / "dist", top
    )
    return next((top / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> dict[str, str]:
    """The environment variables of a venv over this environment's packages, the checkout aside."""
    place = tmp_path_factory.mktemp("venv")
    venv.create(place, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", place / "bin" / "python"]
    run(*pip, "install", "--no-deps", "--no-index", "--disable-pip-version-check", wheel)
    site = next(place.glob("lib/python*/site-packages"))
    (site / "packages.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    env = {name: value for name, value in ENVIRONMENT.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return env | {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "HOME": str(place)}


def test_the_wheel_holds_what_run_sh_needs_and_nothing_of_one_machine(wheel):
    with zipfile.ZipFile(wheel) as file:
        modes = {info.filename: info.external_attr >> 16 for info in file.infolist()}
    for room, pattern in (("local", "*.sh"), ("utils", "**/*"), ("egs", "*/run.sh"), ("egs", "*/conf/*.yaml")):
        tracked = [p for p in (ROOT / room).glob(pattern) if p.is_file() and p.suffix != ".pyc" and p.name != "site.sh"]
        assert tracked
        for path in tracked:
            assert (modes[f"speechprune/{path.relative_to(ROOT)}"] & 0o111 != 0) == os.access(path, os.X_OK), path
    content = [p for p in (ROOT / "speechprune").rglob("*") if p.suffix in (".txt", ".yaml", ".html", ".css", ".js")]
    assert {path.relative_to(ROOT).as_posix() for path in content} <= modes.keys()
    assert ROOT / "speechprune/construction/prompts/sample.txt" in content
    assert "speechprune/local/site.sh" not in modes
    assert not [name for name in modes if name.startswith(("tests/", "speechprune/tests/"))]


def test_a_clone_runs_from_download_to_page(installed, tmp_path):
    def command(*words: str | Path) -> str:
        return run(*words, cwd=tmp_path, env=installed).stdout

    where = command("python", "-c", "import speechprune; print(*speechprune.__path__)").split()
    assert where == [command("speechprune", "home").strip()]
    assert not Path(where[0]).is_relative_to(ROOT)
    command("speechprune", "clone", "mini_sir", "project")
    clone = tmp_path / "project"
    for path, content in (("recipes/few_sir.py", CORPUS), ("pruners/mine.py", PRUNER), ("conf/decode.yaml", SYSTEMS)):
        (clone / path).parent.mkdir(exist_ok=True)
        (clone / path).write_text(content)
    shown = command(clone / "run.sh", "--corpus", "few_sir", "--sets", "few", "--nj", "1")
    exp = clone / "exp/mini/few"
    assert shown.rstrip().endswith(f"Look at {exp}/report.html; tables: {exp}/RESULTS.md")
    assert sorted(path.parent.name for path in exp.glob("*/hyp.*.jsonl")) == [
        "full",
        "mine_0.4",
        "original",
        "speechprune_0.4",
    ]
    page = (exp / "report.html").read_text()
    assert "few" in page
    assert "mine" in page
    assert {path.name for path in clone.iterdir()} - {"recipes", "pruners"} == {
        ".gitignore", "conf", "run.sh", "downloads", "data", "dump", "exp",
    }  # fmt: skip
