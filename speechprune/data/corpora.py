"""The corpora of ``recipes/``: modules with ``prepare_<name>`` and, most of them, ``download_<name>``."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from types import ModuleType

from speechprune.common.registry import lookup, submodules
from speechprune.tts import get_engine


def corpora() -> dict[str, ModuleType]:
    """{corpus name: its module}, sorted. A module without ``prepare_<name>`` is a helper of others, no corpus."""
    return {n: module for n, module in submodules("speechprune.recipes").items() if hasattr(module, f"prepare_{n}")}


def corpus_function(verb: str, name: str) -> Callable:
    """``download_<name>`` or ``prepare_<name>`` of a corpus.

    Args:
        verb: "download" or "prepare".
    Raises:
        ValueError: an unknown corpus (the message lists those that there are), or one that cannot be downloaded.
    """
    module = lookup("corpus", name, corpora())
    function = getattr(module, f"{verb}_{name}", None)
    if function is None:
        raise ValueError(f"corpus {name} has no {verb}_{name}; its page ({module.__name__}) says where to get it")
    return function


def corpus_options(
    verb: str, name: str, options: dict[str, object], offered: dict[str, object] | None = None
) -> dict[str, object]:
    """Those of a user's options, such as ``tts``, that ``<verb>_<name>`` takes; options that are None are not given.

    Args:
        offered: further ones, for a function that takes them; another does without.
    Raises:
        ValueError: an option is given that neither the corpus' download nor its prepare takes, or a ``tts`` that is
            no engine.
    """
    module = lookup("corpus", name, corpora())
    functions = {v: f for v in ("download", "prepare") if (f := getattr(module, f"{v}_{name}", None))}
    known = {v: set(signature(function).parameters) for v, function in functions.items()}
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if not any(option in parameters for parameters in known.values()):
            raise ValueError(f"corpus {name} takes no --{option}; leave it out")
    if tts := given.get("tts"):
        get_engine(str(tts))  # also where only the other of the two would notice
    return {option: value for option, value in (given | (offered or {})).items() if option in known.get(verb, ())}
