"""Rows of one batch that begin with the same audio read it once, and answer as if each were alone."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from helpers.speech import CHOICES, QUESTION, noise
from helpers.tiny import make_tiny_qwen2_audio
from helpers.tiny_families import FAMILIES, make_tiny

from speechprune import SpeechLLM

# Shorter than a prompt, longer than a question: padding between the two would take places in the window.
SLIDING = {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}
COUNTS = [4, 2, 3, 4, 2, 4]


@pytest.fixture(scope="module", params=["full", "sliding", "gemma3n", "gemma4"])
def model(request, tmp_path_factory):
    """Gemma: sliding windows, and layers that read the keys of others."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param in FAMILIES:
        make_tiny(request.param, folder)
    else:
        changes = SLIDING if request.param == "sliding" else {}
        make_tiny_qwen2_audio(folder, num_hidden_layers=3, **changes)
    made = SpeechLLM.from_pretrained(folder, device="cpu")
    assert ("sliding_attention" in made._text_config.layer_types) == (request.param != "full")
    return made


@pytest.fixture
def rows(model):
    """(audio, prompts, positions, total) of six rows of three recordings, out of order, of unlike lengths."""
    spoken = [model.project(model.encode(noise(seconds, seed))) for seed, seconds in enumerate((7, 2, 4))]
    totals = [len(tokens) for tokens in spoken]
    kept = [torch.arange(0, total, step) for total, step in zip(totals, (3, 1, 2), strict=True)]
    audio = [tokens[index] for tokens, index in zip(spoken, kept, strict=True)]
    order = [0, 1, 0, 2, 1, 0]
    questions = [QUESTION, "Short?", "Why " * 30, "Who spoke last, and of what?", "When?", "Where did they meet?"]
    prompts = [model.prompt(text, CHOICES[:count]) for text, count in zip(questions, COUNTS, strict=True)]
    return [audio[k] for k in order], prompts, [kept[k] for k in order], [totals[k] for k in order]


@pytest.fixture
def forwards(model, monkeypatch):
    """(rows, width, positions read) of each forward of the decoder."""
    seen, forward = [], model._decoder.forward

    def spy(*args, **kwargs):
        batch, width = kwargs["inputs_embeds"].shape[:2]
        seen.append((batch, width, int(kwargs["attention_mask"][:, -width:].sum())))
        return forward(*args, **kwargs)

    monkeypatch.setattr(model._decoder, "forward", spy)
    return seen


def places(rows, original):
    return {"positions": rows[2], "total": rows[3]} if original else {}


@pytest.mark.parametrize("original", [False, True])
def test_mixed_groups_equal_single_rows(model, rows, forwards, original):
    audio, prompts, positions, total = rows
    batch = model.choice_logprobs(audio, prompts, COUNTS, **places(rows, original))
    before, after = len(prompts[0].before), [len(prompt.after) for prompt in prompts]
    prefixes = [before + len(audio[row]) for row in (0, 1, 3)]
    assert forwards == [(3, max(prefixes), sum(prefixes)), (6, max(after), sum(after))]
    for row, count in enumerate(COUNTS):
        place = {"positions": positions[row : row + 1], "total": total[row : row + 1]} if original else {}
        single = model.choice_logprobs(audio[row : row + 1], prompts[row : row + 1], count, **place)[0]
        torch.testing.assert_close(batch[row, :count], single, atol=1e-5, rtol=0)


@pytest.mark.parametrize("original", [False, True])
def test_replies_equal_those_of_single_rows(model, rows, forwards, original):
    audio, prompts, positions, total = rows
    batch = model.generate(audio, prompts, 6, **places(rows, original))
    shared = "sliding_attention" not in model._text_config.layer_types
    assert [count for count, width, _ in forwards if width > 1] == ([3, 6] if shared else [6])
    for row, reply in enumerate(batch):
        place = {"positions": positions[row : row + 1], "total": total[row : row + 1]} if original else {}
        assert reply == model.generate(audio[row : row + 1], prompts[row : row + 1], 6, **place)[0]


def test_what_differs_is_not_shared(model, rows, forwards):
    """Equal copies of the audio or of the positions, another text before the audio, no text behind it."""
    audio, prompt, index, total = rows[0][0], rows[1][0], rows[2][0], rows[3][0]
    other = type(prompt)((*prompt.before, prompt.after[0]), prompt.after)
    silent = type(prompt)(prompt.before, ())
    model.choice_logprobs([audio, audio.clone()], [prompt] * 2, 4)
    model.choice_logprobs([audio] * 2, [prompt] * 2, 4, positions=[index, index.clone()], total=[total] * 2)
    model.choice_logprobs([audio] * 2, [prompt, other], 4)
    model.choice_logprobs([audio] * 2, [silent] * 2, 4)
    assert [count for count, _, _ in forwards] == [2, 2, 2, 2]
    model.choice_logprobs([audio] * 2, [prompt] * 2, 4, positions=[index] * 2, total=[total, total + 5])
    assert [count for count, _, _ in forwards[4:]] == [1, 2]


@pytest.mark.parametrize("make", [partial(make_tiny_qwen2_audio, **SLIDING), partial(make_tiny, "gemma3n")])
def test_windows_wider_than_the_rows_do_not_keep_replies_from_sharing(tmp_path, make):
    folder = make(tmp_path, sliding_window=4096)
    model = SpeechLLM.from_pretrained(folder, device="cpu")
    assert "sliding_attention" in model._text_config.layer_types
    audio, prompts = model.project(model.encode(noise(2))), [model.prompt(text, CHOICES) for text in ("Who?", QUESTION)]
    seen = []
    model._decoder.register_forward_pre_hook(
        lambda _module, _args, kwargs: seen.append(len(kwargs["inputs_embeds"])), with_kwargs=True
    )
    batch = model.generate([audio] * 2, prompts, 3)
    assert seen[:2] == [1, 2]
    assert batch == [model.generate([audio], [prompt], 3)[0] for prompt in prompts]
