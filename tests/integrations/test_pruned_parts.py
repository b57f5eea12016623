"""What the hooks are made of, and what single models ask of them. Tiny random weights."""

from __future__ import annotations

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from helpers.speech import CHOICES, QUESTION, noise
from helpers.tiny import make_tiny_qwen2_audio
from helpers.tiny_families import make_tiny

import speechprune
from speechprune import SpeechLLM
from speechprune.integrations.hooks import Shortened


def test_rows_of_unlike_length():
    kept = torch.tensor([[0, 1, 0, 1, 1], [0, 0, 1, 0, 0]], dtype=torch.bool)
    short, wide = Shortened.of(kept), torch.arange(1.0, 11).view(2, 5, 1)
    assert short.mask.tolist() == [[True, True, True], [False, False, True]]
    assert short.take(wide)[short.mask].flatten().tolist() == [2, 4, 5, 8]
    assert torch.equal(short.put_back(short.take(wide)), wide * kept[..., None])


def test_with_hooks_of_accelerate(tmp_path):
    """As ``device_map`` puts them around every forward."""
    folder = make_tiny_qwen2_audio(tmp_path)
    plain, mapped = (SpeechLLM.from_pretrained(folder, device="cpu") for _ in range(2))
    for module in mapped._model.modules():
        add_hook_to_module(module, AlignDevicesHook(execution_device="cpu", io_same_device=True))
    text = plain._processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "Who?"}]}], tokenize=False
    )
    inputs = plain._processor(text=text, audio=noise(1.3), sampling_rate=16000, return_tensors="pt")
    found = []
    for llm in (plain, mapped):
        with speechprune.pruned(llm._model, llm._processor, rate=0.99, query="Who?"):
            found.append(llm._model.generate(**inputs, max_new_tokens=5, do_sample=False))
    assert torch.equal(*found)


@pytest.mark.parametrize("width", [4096, 100])
def test_phi4_keeps_its_cache_where_the_ids_outgrow_the_short_positions(tmp_path, width):
    """Its ``generate`` drops a cache that is shorter than ``original_max_position_embeddings`` once the ids are not."""
    folder = make_tiny("phi4_multimodal", tmp_path, original_max_position_embeddings=width)
    llm = SpeechLLM.from_pretrained(folder, device="cpu")
    audio, prompt = llm.project(llm.encode(noise(7.3))), llm.prompt(QUESTION, CHOICES)
    inputs = speechprune.inputs(
        llm._model,
        llm._processor,
        llm._tokenizer.decode(prompt.before) + "<|audio|>" + llm._tokenizer.decode(prompt.after),
        noise(7.3),
    )
    assert inputs["input_ids"].shape[1] > 100
    with speechprune.pruned(llm._model, llm._processor, "rap", keep=9) as seen:
        ids = llm._model.generate(**inputs, max_new_tokens=6, do_sample=False)
    new = ids[0, inputs["input_ids"].shape[1] :]
    expected = llm.generate([audio[seen.kept[0]]], [prompt], 6)
    assert [llm._tokenizer.decode(new, skip_special_tokens=True).strip()] == expected
