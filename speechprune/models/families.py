"""Which adapter serves a model."""

from __future__ import annotations

from typing import Any, TypeVar

from speechprune.common.registry import subclasses
from speechprune.models.folder import ModelFolder

Contract = TypeVar("Contract")


def family_of(contract: type[Contract], folder: ModelFolder) -> type[Contract]:
    """The adapter that serves the folder's ``model_type``. ValueError where none does, with the reason.

    Args:
        contract: ``SpeechLLM``, whose module imports this one.
    """
    families: dict[str, Any] = subclasses("speechprune.models", contract)
    for family in families.values():
        if folder.model_type in family.model_types:
            return family
        if reason := family.refused.get(folder.model_type or ""):
            raise ValueError(f"{folder.name}: {folder.model_type} models cannot be pruned: {reason}")
    known = ", ".join(f"{name} (model_type {', '.join(cls.model_types)})" for name, cls in families.items())
    raise ValueError(f"{folder.name}: unknown model_type {folder.model_type!r}; families: {known}")
