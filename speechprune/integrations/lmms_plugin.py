"""How lmms-eval finds the model ``speechprune``: the entry point of its group ``lmms_eval.models``."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """A ``ModelManifest`` of lmms-eval."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(
        model_id="speechprune", simple_class_path="speechprune.integrations.lmms_model.PrunedSpeechLLM"
    )
