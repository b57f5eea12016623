"""Folders to run in: those that ship, a clone of one, and the beginning of one's own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from speechprune.common.files import atomic_write
from speechprune.common.registry import lookup
from speechprune.common.rooms import room

TEMPLATE = "template"  # of a recipe, and the name of the corpus in it
# What a clone's git leaves alone: what the stages write, and the settings of one machine.
_IGNORED = ("downloads/", "data/", "dump/", "exp/", "conf/site.sh", "conf/slurm.conf")
# In a checkout run.sh calls its driver by the way there; a clone asks where the driver is installed.
_DRIVER = re.compile(r"^exec \.\./\.\./local/", re.MULTILINE)
_INSTALLED = 'home=$(speechprune home)\nexec "$home"/local/'


def recipes() -> dict[str, str]:
    """{recipe: what its run.sh says it is} of all that can be cloned, sorted."""
    found = {path.parent.name: path for path in sorted(room("egs").glob("*/run.sh"))}
    return {name: _about(path) for name, path in found.items() if name != TEMPLATE}


def _about(run_sh: Path) -> str:
    """The comment below the first line, without the recipe's name."""
    line = run_sh.read_text(encoding="utf-8").splitlines()[1].removeprefix("# ")
    return line.removesuffix(" `./run.sh --help` explains.").partition(": ")[2] or line


def clone(recipe: str, folder: str | Path) -> Path:
    """Make ``folder`` to run ``recipe`` in: run.sh, conf/ and a .gitignore.

    Raises:
        ValueError: no such recipe. FileExistsError: there is something at ``folder``.
    """
    lookup("recipe", recipe, recipes())
    return _make(recipe, recipe, Path(folder))


def begin(name: str, folder: str | Path) -> Path:
    """Make ``folder`` for a corpus of one's own: as ``clone``, and recipes/<name>.py, which reads the format that
    docs/adding-a-corpus.md describes. In the egs/ of a checkout, the corpus goes into the checkout's recipes/.

    Raises:
        ValueError: a name that is none. FileExistsError: there is something at ``folder``, or a corpus of that name.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name == TEMPLATE:
        raise ValueError(f"{name!r} is no name of a corpus; use small letters, digits and _, such as my_talks")
    corpus = room("recipes") / f"{name}.py"
    if corpus.exists():
        raise FileExistsError(f"there is a corpus {name} already, {corpus}; choose another name")
    return _make(TEMPLATE, name, Path(folder))


def _make(recipe: str, name: str, folder: Path) -> Path:
    """``folder``, copied from egs/<recipe>; it appears whole."""
    if folder.exists() or folder.is_symlink():
        raise FileExistsError(f"{folder} is there already; choose another name, or remove it first")
    egs = room("egs")
    in_checkout = folder.resolve().parent == egs
    parts = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(parts, ignore_errors=True)
    for path in [egs / recipe / "run.sh", *egs.glob(f"{recipe}/conf/*.yaml"), *egs.glob(f"{recipe}/recipes/*.py")]:
        text = path.read_text(encoding="utf-8")
        if recipe != name:
            text = text.replace(recipe, name)
        place = parts / path.relative_to(egs / recipe)
        if path.name == "run.sh" and not in_checkout:
            text = _DRIVER.sub(_INSTALLED, text)
        if path.suffix == ".py":
            place = (egs.parent / "recipes" if in_checkout else place.parent) / f"{name}.py"
        with atomic_write(place) as file:
            file.write(text)
    (parts / "run.sh").chmod(0o755)
    if not in_checkout:
        (parts / ".gitignore").write_text("".join(f"{line}\n" for line in _IGNORED), encoding="utf-8")
    return parts.rename(folder)
