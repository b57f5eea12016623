"""One registry idea for corpora, pruners, models and TTS engines: a class or module found by its name."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def submodules(package: str) -> dict[str, ModuleType]:
    """Import every public module of ``package``; returns {module name: module}, sorted by name."""
    path = importlib.import_module(package).__path__
    names = sorted(m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_"))
    return {name: importlib.import_module(f"{package}.{name}") for name in names}


def subclasses(package: str, base: type) -> dict[str, type]:
    """{cls.name: cls} of every class below ``base`` that a module of ``package`` defines.

    Args:
        package: dotted name of the package to search, one class a file.
        base: the abstract class; subclasses carry a ``name`` class attribute.
    Returns:
        the classes by ``name``, sorted. A class without a name of its own (an intermediate base) is left out.
    Raises:
        ValueError: two classes claim one name.
    """
    found: dict[str, type] = {}
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


def lookup(kind: str, name: str, known: dict) -> object:
    """``known[name]``, or a ValueError that lists the valid names."""
    try:
        return known[name]
    except KeyError:
        raise ValueError(f"unknown {kind} {name!r}; choose from: {', '.join(sorted(known))}") from None
