"""What vLLM is given: the tokens of ``ask`` and ``decode``. vLLM itself was not run."""

from __future__ import annotations

import pytest
import torch
from helpers.speech import QUESTION, RATE, noise
from test_pruned import KEEP, chosen, llm  # noqa: F401

import speechprune
from speechprune.pruners import get_pruner


@pytest.mark.parametrize("name", ["speechprune", "a_tome"])
def test_embeddings_of_the_kept(llm, name):  # noqa: F811
    _, tokens = chosen(llm, noise(2.3), QUESTION, get_pruner(name))
    found = speechprune.vllm_audio(llm, (noise(2.3), RATE), QUESTION, name, keep=KEEP)
    (embeds,) = found["audio"]["audio_embeds"]
    assert (embeds.dtype, embeds.device.type, embeds.shape) == (torch.float32, "cpu", (KEEP, 32))
    torch.testing.assert_close(embeds, tokens, atol=1e-6, rtol=0)


def test_what_is_refused(llm):  # noqa: F811
    with pytest.raises(ValueError, match="fastv reads the prompt with the LLM"):
        speechprune.vllm_audio(llm, (noise(1), RATE), "Who?", "fastv")
    with pytest.raises(ValueError, match=r"755 audio tokens are left; vLLM plans for 750"):
        speechprune.vllm_audio(llm, (noise(30.2), RATE), "Who?", "full")
