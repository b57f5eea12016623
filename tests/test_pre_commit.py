"""The hooks of .pre-commit-config.yaml, on a commit with one fault for each."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.shells import ENVIRONMENT, ROOT


@pytest.fixture
def repository(tmp_path) -> Path:
    shutil.copy(ROOT / ".pre-commit-config.yaml", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return tmp_path


def hooks(repository: Path, **files: str) -> dict[str, str]:
    """{hook: Passed or Failed, those that had nothing to look at aside} of a commit of these files."""
    for name, content in files.items():
        (repository / name.replace("_dot_", ".")).write_text(content)
    subprocess.run(["git", "-C", repository, "add", "-A", "--", ":!.venv"], check=True)
    command = [str(Path(sys.executable).parent / "pre-commit"), "run", "--color", "never"]
    env = ENVIRONMENT | {"PRE_COMMIT_HOME": str(repository / ".git" / "cache")}
    shown = subprocess.run(command, cwd=repository, env=env, capture_output=True, text=True, timeout=120).stdout
    lines = [line for line in shown.splitlines() if line.endswith(("Passed", "Failed"))]
    return {line.partition("...")[0]: line.rpartition(".")[2] for line in lines}


def test_a_good_commit_passes(repository):
    found = hooks(repository, a_dot_py='"""A module."""\n', b_dot_sh="#!/usr/bin/env bash\necho\n", c_dot_md="# C\n")
    assert set(found.values()) == {"Passed"}
    assert len(found) == 5


@pytest.mark.parametrize(
    ("name", "content", "hook"),
    [
        ("a_dot_py", "import os\n", "ruff check"),
        ("a_dot_py", "a = 'b'\n", "ruff format"),
        ("a_dot_sh", "#!/usr/bin/env bash\ncat $1\n", "shellcheck"),
        ("a_dot_md", "# No end", "files end in one line break"),
        ("a_dot_bin", "\0" * 1_200_000, "no file above 1000 kB is added"),
    ],
)
def test_each_finds_its_fault(repository, name, content, hook):
    found = hooks(repository, **{name: content})
    assert [name for name, state in found.items() if state == "Failed"] == [hook]
