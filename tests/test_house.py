"""What the house promises about its files and names; who imports whom is `lint-imports`, a part of `make lint`."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from pathlib import Path
from types import ModuleType

from helpers.shells import ROOT

import speechprune

LONGEST = 300  # lines
ROOMS = ("speechprune", "recipes", "local", "utils", "tests")
# By nature: a package's own, a room's contract or stage, how a model made here is set and trained.
REPEATED = {"__init__", "__main__", "base", "stage", "config", "train"}


def python_files(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]


def test_no_file_of_python_is_long():
    lengths = {path: len(path.read_text().splitlines()) for path in [ROOT / "setup.py", *python_files(*ROOMS)]}
    assert len(lengths) > 200  # the rooms stand where this test looks
    long = {str(path.relative_to(ROOT)): lines for path, lines in lengths.items() if lines > LONGEST}
    assert not long, "split them"


def packages() -> list[ModuleType]:
    found = pkgutil.walk_packages(speechprune.__path__[:1], "speechprune.")
    return [speechprune, *(importlib.import_module(module.name) for module in found if module.ispkg)]


def test_no_module_has_the_name_of_what_its_package_exports():
    """Importing the submodule would put it in the place of the function."""
    assert len(packages()) > 10
    for package in packages():
        for module in pkgutil.iter_modules(package.__path__[:1]):
            exported = getattr(package, module.name, None)
            assert exported is None or isinstance(exported, ModuleType), f"{package.__name__}.{module.name}"


def test_two_modules_have_one_name_only_where_it_is_repeated_by_nature():
    files = [
        path for path in python_files("speechprune", "recipes") if path.parent.name != "cli"
    ]  # called as its rooms
    names = [path.stem for path in files if path.stem not in REPEATED]
    names += [path.parent.name for path in python_files("speechprune") if path.stem == "__init__"]
    assert [name for name, count in Counter(names).items() if count > 1] == ["speechprune"]  # the pruner's name, too
