"""The code and the configuration of docs/pruners.md run as they are printed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml
from test_pruners import CHECKS, VARIANTS

from speechprune import pruners
from speechprune.pruners import all_pruners, get_pruner

DOCS = Path(__file__).parent.parent / "docs" / "pruners.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


def test_usage_runs() -> None:
    usage = [code for code in blocks("python") if not code.startswith("# speechprune/")]
    assert usage
    for code in usage:
        exec(code, {})  # noqa: S102


def test_configuration_is_valid() -> None:
    systems = [system for text in blocks("yaml") for system in yaml.safe_load(text)["systems"]]
    assert systems
    for system in systems:
        get_pruner(system.pop("method"), **{option: value for option, value in system.items() if option != "rates"})


def test_new_pruner_passes_every_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = (code for code in blocks("python") if code.startswith("# speechprune/"))
    path = Path(code.split("\n", 1)[0].removeprefix("# "))
    (tmp_path / path.name).write_text(code, encoding="utf-8")
    monkeypatch.setattr(pruners, "__path__", [*pruners.__path__, str(tmp_path)])
    (name,) = set(all_pruners()) - {pruner.name for pruner in VARIANTS}
    try:
        for check in CHECKS:
            check(get_pruner(name))
    finally:
        sys.modules.pop(f"speechprune.pruners.{path.stem}")
        delattr(pruners, path.stem)
