"""Where the rooms beside the library stand, and those that a user adds beside a run.sh."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path


def room(name: str) -> Path:
    """The folder ``recipes``, ``local``, ``utils`` or ``egs``: of the checkout, or of the installed package."""
    # In a checkout beside the library, by speechprune.__path__: as Python finds packages, but asked anew each time.
    spec = PathFinder.find_spec(f"speechprune.{name}", sys.modules["speechprune"].__path__)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"speechprune is not installed whole: its {name}/ is missing; install it again")
    return Path(next(iter(spec.submodule_search_locations)))


def beside_run_sh(package: str) -> list[str]:
    """What to add to a package's ``__path__``: the folder of its name beside the run.sh of the current directory.

    So corpora, pruners, models and synthesisers of a user's own are found without a checkout: ``pruners/`` beside
    ``run.sh`` is a part of ``speechprune.pruners``. Where there is no run.sh nothing is.
    """
    try:
        here = Path.cwd()
    except FileNotFoundError:  # somebody removed it
        return []
    folder = here / package.rpartition(".")[2]
    return [str(folder)] if (here / "run.sh").is_file() and folder.is_dir() else []
