"""The shell rooms: option parsing, log lines, shellcheck, recipes and pins, `make env`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.shells import ENVIRONMENT, ROOT, bash

SHELL_FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("utils/*.sh", "local/*.sh", "egs/*/*.sh", ".ci/run")
    for path in ROOT.glob(pattern)
    if path.name != "site.sh"
)

SCRIPT = f"""#!/usr/bin/env bash
set -euo pipefail
declare +x stage=0 stop_stage=5 tag="" train=false
usage() {{ echo "usage of the script, stage is $stage"; }}
readonly fixed=1
HELPER=1
. "{ROOT}/utils/parse_options.sh"
for name in stage stop_stage tag train fixed HELPER; do printf '%s=[%s]\\n' "$name" "${{!name}}"; done
"""


@pytest.fixture
def parse(tmp_path):
    script = tmp_path / "script.sh"
    script.write_text(SCRIPT)

    def call(*words: str, env: dict | None = None) -> tuple[int, dict[str, str], str]:
        result = bash(script, *words, cwd=tmp_path, env=env)
        values = dict(re.findall(r"^(\w+)=\[(.*?)\]$", result.stdout, re.MULTILINE | re.DOTALL))
        return result.returncode, values, result.stderr

    return call


@pytest.mark.parametrize(
    "words",
    [
        ["--stage", "3", "--stop-stage", "4"],
        ["--stage=3", "--stop-stage=4"],
        ["--stage=3", "--stop_stage", "4"],
        ["--stop-stage=1", "--stage", "9", "--stage=3", "--stop-stage", "4"],  # a later option wins
    ],
)
def test_both_forms_of_an_option(parse, words):
    code, values, stderr = parse(*words)
    assert (code, stderr) == (0, "")
    assert (values["stage"], values["stop_stage"]) == ("3", "4")
    assert (values["tag"], values["train"]) == ("", "false")


@pytest.mark.parametrize(
    "value",
    [
        "$(touch x)",
        "`touch x`",
        "a b  c",
        "a;touch x",
        "$HOME",
        "a=b=c",
        "*",
        "'",
        '"',
        "\\n %s",
        "",
        "-1",
        "two\nlines",
    ],
)
def test_a_value_stays_text(parse, tmp_path, value):
    for words in (["--tag", value], [f"--tag={value}"]):
        code, values, stderr = parse(*words)
        assert (code, stderr) == (0, "")
        assert values["tag"] == value
    assert not (tmp_path / "x").exists()


def test_a_value_may_begin_with_dashes_behind_an_equals_sign(parse):
    assert parse("--tag=--stage")[1]["tag"] == "--stage"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stge", "3"], "unknown option --stge"),
        (["--stge=3"], "unknown option --stge"),
        (["--Stage", "3"], "unknown option --Stage"),
        (["--HELPER", "3"], "unknown option --HELPER"),
        (["--fixed", "3"], "unknown option --fixed"),
        (["--path", "3"], "unknown option --path"),
        (["--http-proxy", "3"], "unknown option --http-proxy"),
        (["--tag[$(touch x)]=3"], "unknown option"),
        (["--"], "unknown option --;"),
        (["-s", "3"], "unknown option -s"),
        (["--stage"], "option --stage has no value"),
        (["--train", "true", "--tag"], "option --tag has no value"),
        (["--stage", "--stop-stage", "4"], "option --stage has no value"),
        (["--stage", "--stop-stage=4"], "option --stage has no value"),
        (["--stage", "--help"], "option --stage has no value"),
        (["3"], "unexpected argument: 3"),
        (["--stage", "3", "four", "a b"], r"unexpected argument: four a\ b"),
        ([""], "unexpected argument: ''"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(parse, tmp_path, words, message):
    code, values, stderr = parse(*words, env={"http_proxy": "proxy"})
    assert (code, values) == (2, {})
    assert stderr.startswith("script.sh: ")
    assert message in stderr
    assert stderr.count("\n") == 1
    if "unknown" in message:
        assert "the valid ones are: --stage --stop-stage --tag --train --help" in stderr
    assert not (tmp_path / "x").exists()


def test_the_users_environment_does_not_hide_an_option(parse):
    code, values, _ = parse("--stage=3", env={"stage": "7", "tag": "theirs"})
    assert (code, values["stage"], values["tag"]) == (0, "3", "")


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["-h", "--stage", "4"]])
def test_help_calls_usage_with_the_options_read(tmp_path, words):
    (tmp_path / "script.sh").write_text(SCRIPT)
    result = bash("script.sh", *words, cwd=tmp_path)
    stage = "4" if "4" in words else "0"
    assert (result.returncode, result.stdout) == (0, f"usage of the script, stage is {stage}\n")


def test_log_line(tmp_path):
    script = f'. "{ROOT}/utils/log.sh"\nprepare() {{\n  log "Stage 1: prepare" "a -> b"\n}}\nprepare\nlog 100%\n'
    (tmp_path / "a.sh").write_text(script)
    first, second = bash("a.sh", cwd=tmp_path).stdout.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d \(a\.sh:3:prepare\) Stage 1: prepare a -> b", first)
    assert second.endswith("(a.sh:6:main) 100%")


def test_shellcheck():
    tool = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert tool, "shellcheck is not installed; type: make env"
    assert len(SHELL_FILES) >= 8
    result = subprocess.run([tool, "-x", *SHELL_FILES], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", SHELL_FILES)
def test_shell_files_are_strict_and_evaluate_nothing(name):
    path = ROOT / name
    code = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    assert not re.search(r"\beval\b", code)
    program = path.read_text().startswith("#!")
    assert os.access(path, os.X_OK) == program
    assert program == ("\nset -euo pipefail\n" in f"\n{code}")


@pytest.mark.parametrize("path", sorted(ROOT.glob("egs/*/run.sh")), ids=lambda path: path.parent.name)
def test_recipes_are_thin(path):
    lines = path.read_text().splitlines()
    assert lines[-1].strip() == '"$@"'
    assert len(lines) <= 15


def test_constraints_are_exact_pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert lines[0].startswith("#")
    names = [re.fullmatch(r"([A-Za-z0-9_.-]+)==[A-Za-z0-9.+!]+", line)[1].lower() for line in lines[1:]]
    assert names == sorted(set(names))
    assert {"torch", "transformers", "lhotse", "kaldiio", "ruff", "pytest"} <= set(names)


# A python that makes an environment holding itself, and whose pip writes down what it is to install.
FAKE_PYTHON = """#!/usr/bin/env bash
case "$*" in
  --version) echo "Python 3.11.0" ;;
  "-c "*) exit "${TOO_OLD:-0}" ;;
  "-m venv --clear "*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
  "-m pip --version") ;;
  "-m pip install "*) echo "$*" >> pip.log; exit "${PIP_STATUS:-0}" ;;
  *) exit 9 ;;
esac
"""


def test_make_env(tmp_path):
    bin_dir, top = tmp_path / "bin", tmp_path / "top"
    bin_dir.mkdir()
    top.mkdir()
    for name in ("python3.11", "python3"):
        (bin_dir / name).write_text(FAKE_PYTHON)
        (bin_dir / name).chmod(0o755)
    for name in ("Makefile", "setup.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, top)

    def make(**env: str) -> subprocess.CompletedProcess:
        env = {**ENVIRONMENT, "PATH": f"{bin_dir}:/usr/bin:/bin", **env}
        return subprocess.run(["make", "env"], cwd=top, env=env, capture_output=True, text=True, timeout=30)

    def installs() -> int:
        return len((top / "pip.log").read_text().splitlines()) if (top / "pip.log").exists() else 0

    old = make(TOO_OLD="1")
    assert old.returncode != 0
    assert "3.11" in old.stderr
    assert make(PIP_STATUS="1").returncode != 0
    assert make().returncode == 0
    assert installs() == 2  # one that failed, and is not taken for done
    assert "-c constraints.txt -e .[dev]" in (top / "pip.log").read_text()
    assert make().returncode == 0
    assert installs() == 2
    sources, now = ("setup.py", "pyproject.toml", "constraints.txt"), time.time()
    for count, changed in enumerate(sources, start=3):
        for name in sources:
            os.utime(top / name, (now - 10 if name == changed else now - 30,) * 2)
        os.utime(top / ".venv/installed", (now - 20,) * 2)
        assert make().returncode == 0
        assert make().returncode == 0
        assert installs() == count
