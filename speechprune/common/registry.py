"""One registry idea for corpora, pruners, models and TTS engines: a class or module found by its name.

Three places are searched: the package itself, the folder of its name beside a run.sh (``rooms.beside_run_sh``), and the
entry points of installed packages, whose group is the package's name: ::

    [project.entry-points."speechprune.pruners"]
    mine = "my_package.mine"
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def submodules(package: str) -> dict[str, ModuleType]:
    """Import every public module of ``package``; returns {module name: module}, sorted by name.

    Raises:
        ValueError: two modules of one name, or one from outside the library that cannot be imported.
    """
    library, *beside = importlib.import_module(package).__path__
    found = {name: importlib.import_module(f"{package}.{name}") for name in _names(library)}
    for folder in beside:
        for name in _names(folder):
            _refuse_second(name, found, folder)
            found[name] = _import(f"{package}.{name}", f"{folder}/{name}.py")
    for point in _entry_points(package):
        where = f"{point.dist.name if point.dist else 'a package'}'s entry point {point.name} of {package}"
        _refuse_second(point.name, found, where)
        found[point.name] = _import(point.value, where)
    return dict(sorted(found.items()))


def _names(folder: str) -> list[str]:
    return [module.name for module in pkgutil.iter_modules([folder]) if not module.name.startswith("_")]


@cache
def _entry_points(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


def _refuse_second(name: str, found: dict[str, ModuleType], where: str) -> None:
    if name in found:
        raise ValueError(f"{where}: there is a {name} already, {found[name].__file__}; choose another name")


def _import(module: str, where: str) -> ModuleType:
    """A module that is not ours, so that what is wrong with it is for its author to read."""
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise ValueError(f"{where} cannot be imported: {type(error).__name__}: {error}") from error


def subclasses(package: str, base: type[T]) -> dict[str, type[T]]:
    """{cls.name: cls} of every class below ``base`` that a module of ``package`` defines.

    Args:
        package: dotted name of the package to search, one class a file.
        base: the abstract class; subclasses carry a ``name`` class attribute.
    Returns:
        the classes by ``name``, sorted. A class without a name of its own (an intermediate base) is left out.
    Raises:
        ValueError: two classes claim one name; or as ``submodules``.
    """
    found: dict[str, type[T]] = {}
    for module in submodules(package).values():
        for cls in vars(module).values():
            if not (isinstance(cls, type) and issubclass(cls, base) and cls.__module__ == module.__name__):
                continue
            name = vars(cls).get("name")
            if not name:
                continue
            if name in found:
                raise ValueError(f"{package}: {found[name].__module__} and {cls.__module__} are both named {name!r}")
            found[name] = cls
    return dict(sorted(found.items()))


def lookup(kind: str, name: str, known: dict[str, T]) -> T:
    """``known[name]``, or a ValueError that lists the valid names."""
    try:
        return known[name]
    except KeyError:
        raise ValueError(f"unknown {kind} {name!r}; choose from: {', '.join(sorted(known))}") from None
