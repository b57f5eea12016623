"""The code and the configuration of docs/pruners.md run as they are printed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml
from helpers.hypotheses import row, write_rows
from helpers.pruner_matrix import CHECKS, VARIANTS
from helpers.shells import ROOT

from speechprune import pruners
from speechprune.decoding.systems import load_config
from speechprune.pruners import all_pruners, get_pruner
from speechprune.pruners.listing import listing
from speechprune.scoring.stage import write_results
from speechprune.scoring.tables import title

DOCS = ROOT / "docs" / "pruners.md"
_OWN = ("name", "rates")  # of a system, not of its pruner


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
        method, options = system.pop("method"), {key: value for key, value in system.items() if key not in _OWN}
        get_pruner(method, **options)


def test_tables_print_the_titles_of_the_shipped_pruners() -> None:
    for name, pruner in all_pruners().items():
        assert title(name) == pruner.title


def test_new_pruner_passes_every_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = (code for code in blocks("python") if code.startswith("# speechprune/"))
    path = Path(code.split("\n", 1)[0].removeprefix("# "))
    (tmp_path / path.name).write_text(code, encoding="utf-8")
    monkeypatch.setattr(pruners, "__path__", [*pruners.__path__, str(tmp_path)])
    (name,) = set(all_pruners()) - {pruner.name for pruner in VARIANTS}
    try:
        for check in CHECKS:
            check(get_pruner(name))
        assert name in [entry["name"] for entry in listing()]
        zoo = load_config(ROOT / "egs" / "mini_sir" / "conf" / "zoo.yaml")
        assert name in [system.pruner.name for system in zoo.systems]
        write_rows(tmp_path / "exp", [row(0, name, 0.4), row(0, "my_own", 0.4)])
        write_results(tmp_path / "exp", "speechprune score exp")
        page = (tmp_path / "exp" / "RESULTS.md").read_text(encoding="utf-8")
        assert f"| {get_pruner(name).title} | 0.4 |" in page
        assert "| my_own | 0.4 |" in page  # a name of the configuration
    finally:
        sys.modules.pop(f"speechprune.pruners.{path.stem}")
        delattr(pruners, path.stem)
