"""``--strict-skips``: a run in which a test was skipped without a sound reason fails.

Where the browser or the Slurm of the tests is broken, dozens of tests are skipped; a build must not pass without them.
"""

from __future__ import annotations

import pytest

# How the reasons begin that no repair of the machine would remove: it has no GPU, a family of models cannot do it, or a
# package cannot live beside the pinned ones.
SOUND = ("needs a GPU", "the stock model ", "needs the extra lmms-eval")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-skips", action="store_true", help="fail if a test is skipped for want of something that can be had"
    )


def pytest_configure(config: pytest.Config) -> None:
    # The processes of xdist only report: whoever started them judges.
    if config.getoption("strict_skips") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_StrictSkips())


class _StrictSkips:
    def __init__(self) -> None:
        self.unsound: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(SOUND):
            self.unsound.append(f"{report.nodeid}: {reason}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unsound and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.unsound:
            terminalreporter.section("--strict-skips: skipped without a sound reason", red=True)
            for line in self.unsound:
                terminalreporter.line(line)
