"""What the tests of stage 3 answer with."""

from __future__ import annotations

import pytest
from helpers.decoding import tiny_llm

from speechprune import SpeechLLM


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> SpeechLLM:
    return tiny_llm(tmp_path_factory.mktemp("model"))
