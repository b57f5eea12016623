"""docs/adding-a-model.md, done as it says: its file passes the checks, is found by its place, and answers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from helpers.shells import ROOT
from helpers.speech import CHOICES, QUESTION, edit_json, noise
from helpers.tiny_families import make_tiny

import speechprune.models
from speechprune import SpeechLLM

PAGE = (ROOT / "docs" / "adding-a-model.md").read_text()
NAME, BODY = re.search(
    r"^```python\n# speechprune/models/(\w+)\.py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
).groups()


@pytest.fixture
def placed(tmp_path, monkeypatch) -> Path:
    """The page's file, in a folder of families."""
    file = tmp_path / f"{NAME}.py"
    file.write_text(BODY)
    monkeypatch.setattr(speechprune.models, "__path__", [*speechprune.models.__path__, str(tmp_path)])
    yield file
    sys.modules.pop(f"speechprune.models.{NAME}", None)
    vars(speechprune.models).pop(NAME, None)


@pytest.mark.parametrize("words", [["check"], ["format", "--check"]])
def test_it_passes_the_checks(words):
    ruff = [str(Path(sys.executable).parent / "ruff"), *words, "--stdin-filename", f"speechprune/models/{NAME}.py", "-"]
    result = subprocess.run(ruff, cwd=ROOT, input=BODY, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_it_answers(tmp_path, placed, monkeypatch):
    """On a stock model under the names that the page gives its own."""
    for stock, its in (("GlmAsrForConditionalGeneration", "Shouting"), ("GlmAsrProcessor", "Shouting")):
        its += stock.removeprefix("GlmAsr")
        monkeypatch.setattr(transformers, its, getattr(transformers, stock), raising=False)
    folder = make_tiny("glmasr", tmp_path / "model")
    plain = SpeechLLM.from_pretrained(folder, device="cpu")
    edit_json(folder / "config.json", model_type=NAME)
    loud = SpeechLLM.from_pretrained(folder, device="cpu")
    assert type(loud).__module__ == f"speechprune.models.{NAME}"
    states = plain.encode(noise(2))
    torch.testing.assert_close(loud.project(loud.encode(noise(2))), 10 * plain.project(states))
    answer = loud.ask((noise(2), 16_000), QUESTION, CHOICES, pruner="full")
    assert answer.choice in CHOICES
