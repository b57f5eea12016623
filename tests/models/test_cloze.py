"""Whole answers by their log-probability, against a reference that reads one token after another, all of it anew."""

from __future__ import annotations

import pytest
import torch
from helpers.speech import CHOICES, QUESTION, noise
from helpers.tiny import make_tiny_qwen2_audio
from helpers.tiny_families import make_tiny
from test_diva import make_diva

from speechprune import SpeechLLM
from speechprune.models import Prompt
from speechprune.models.batching import Row, position_ids

ANSWERS = [["Anna", "Ben and Carl", "D"], ["yes", "no"], ["a long, long answer", "b", "cd", "Dora?"]]


@pytest.fixture(scope="module", params=["qwen2_audio", "diva", "gemma4", "sliding"])
def llm(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "diva":
        make_diva(folder)
    elif request.param == "gemma4":
        make_tiny("gemma4", folder)
    else:
        sliding = {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1, "num_hidden_layers": 3}
        make_tiny_qwen2_audio(folder, **(sliding if request.param == "sliding" else {}))
    return SpeechLLM.from_pretrained(folder, device="cpu")


@torch.inference_mode()
def slow(llm, audio, prompt, ids, index=None, total=None) -> float:
    """One token at a time, each behind everything before it, in a batch of one."""
    found = 0.0
    for place, token in enumerate(ids):
        so_far = Prompt(prompt.before, (*prompt.after, *ids[:place]))
        row = Row(so_far.before, audio, so_far.after, position_ids(so_far, len(audio), index, total))
        state = llm._read(*llm._pad([row]), None)[:, -1]
        found += llm._logits(state).float().log_softmax(-1)[0, token].item()
    return found


@pytest.mark.parametrize("original", [False, True])
def test_a_batch_equals_the_slow_reference(llm, original):
    whole = llm.project(llm.encode(noise(7)))
    index = torch.arange(0, len(whole), 2)
    first, second = whole[index], whole[index[:5]]
    audio, kept = [first, first, second], [index, index, index[:5]]
    prompts = [llm.prompt(question, None) for question in (QUESTION, "Short?", "Why " * 9)]
    ids = [llm.continuations(prompt, texts) for prompt, texts in zip(prompts, ANSWERS, strict=True)]
    places = {"positions": kept, "total": [len(whole)] * 3} if original else {}
    found = llm.cloze_logprobs(audio, prompts, ids, **places)
    for row, choices in enumerate(ids):
        where = (kept[row], len(whole)) if original else ()
        expected = [slow(llm, audio[row], prompts[row], tokens, *where) for tokens in choices]
        assert found[row] == pytest.approx(expected, abs=5e-4)
    if not original:
        assert llm.cloze_logprobs(audio[:1], prompts[:1], ids[:1])[0] == pytest.approx(found[0], abs=5e-4)


def test_the_choices_share_one_prefill(llm, monkeypatch):
    read, forward = [], llm._decoder.forward

    def spy(*args, **kwargs):
        read.append(tuple(kwargs["inputs_embeds"].shape[:2]))
        return forward(*args, **kwargs)

    monkeypatch.setattr(llm._decoder, "forward", spy)
    audio, prompt = llm.project(llm.encode(noise(2))), llm.prompt(QUESTION, None)
    ids = llm.continuations(prompt, CHOICES)
    llm.cloze_logprobs([audio], [prompt], [ids])
    longest = max(map(len, ids))
    assert read == [(1, len(prompt.before) + len(audio)), (4, len(prompt.after) + longest - 1)]


def test_no_audio_at_all(llm):
    """What PMI compares with."""
    prompt = llm.prompt(QUESTION, None)
    ids = llm.continuations(prompt, CHOICES)
    nothing = llm.project(llm.encode(noise(2)))[:0]
    (found,) = llm.cloze_logprobs([nothing], [prompt], [ids])
    assert found == pytest.approx([slow(llm, nothing, prompt, tokens) for tokens in ids], abs=5e-4)


def test_the_prompt_does_not_show_the_choices(llm):
    prompt = llm.prompt(QUESTION, None)
    text = llm._tokenizer.decode([*prompt.before, *prompt.after])
    assert f"{QUESTION}\nAnswer in a few words." in text
    assert not any(choice in text for choice in CHOICES)


def test_answers_begin_with_a_space_where_the_prompt_leaves_none(llm):
    ids = tuple(llm._tokenizer("Answer:", add_special_tokens=False)["input_ids"])
    ((first, *_),) = llm.continuations(Prompt((), ids), ["Anna"])
    assert llm._tokenizer.decode([first]).startswith(" ")
    newline = tuple(llm._tokenizer("Answer:\n", add_special_tokens=False)["input_ids"])
    ((first, *_),) = llm.continuations(Prompt((), newline), ["Anna"])
    assert llm._tokenizer.decode([first]) == "A"


def test_what_is_refused(llm):
    audio, prompt = llm.project(llm.encode(noise(2))), llm.prompt(QUESTION, None)
    with pytest.raises(ValueError, match="2 lists of continuations for 1 prompts"):
        llm.cloze_logprobs([audio], [prompt], [[(1,)], [(1,)]])
    with pytest.raises(ValueError, match="one token or more"):
        llm.cloze_logprobs([audio], [prompt], [[(1,), ()]])
    with pytest.raises(ValueError, match="no token"):
        llm.continuations(prompt, [""])
