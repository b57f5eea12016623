"""``--strict-skips``, which .ci/run gives: skips that a repair of the machine would remove fail the run."""

from __future__ import annotations

import pytest
from helpers.shells import ROOT, bash

pytest_plugins = ["pytester"]

FIXTURE = """
import pytest

@pytest.fixture
def browser():
    pytest.skip("needs chromium and chromedriver")

def test_page(browser):
    pass
"""
MODULE = "import pytest\npytest.importorskip('no_such_package')\n"
SOUND = """
import pytest

@pytest.mark.skipif(True, reason="needs a GPU")
def test_gpu():
    pass

def test_family():
    pytest.skip("the stock model reads padding tokens")

@pytest.mark.xfail(reason="known")
def test_known():
    assert False

def test_ordinary():
    pass
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """pytest, with no other plugin than xdist: some take seconds to import."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest("from helpers.skips import pytest_addoption, pytest_configure\n")

    def run(content: str, *options: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess("-p", "xdist", *options, pytester.makepyfile(test_it=content))

    return run


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize(
    ("content", "line"),
    [
        (FIXTURE, "test_it.py::test_page: needs chromium and chromedriver"),
        (MODULE, "test_it.py: could not import 'no_such_package'*"),
    ],
)
def test_what_can_be_repaired_fails_the_run(run, content, line, workers):
    assert run(content, "-n", workers).ret in (0, 5)  # 5: nothing was collected
    strict = run(content, "-n", workers, "--strict-skips")
    assert strict.ret == 1
    strict.stdout.fnmatch_lines([line])


def test_a_sound_reason_does_not(run):
    strict = run(SOUND, "--strict-skips")
    assert strict.ret == 0
    strict.assert_outcomes(passed=1, skipped=2, xfailed=1)
    strict.stdout.no_fnmatch_line("*--strict-skips: skipped*")


def test_ci_asks_for_it(tmp_path):
    for name, body in (("make", 'printf "<%s>" "$@"'), ("chromium", ""), ("chromedriver", "")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    result = bash(ROOT / ".ci/run", cwd=tmp_path, env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTEST_ARGS": "-k x"})
    assert (result.returncode, result.stdout) == (0, "<test><PYTEST_ARGS=--strict-skips -k x>")
