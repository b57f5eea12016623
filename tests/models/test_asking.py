"""``SpeechLLM.ask``: one question about one recording."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from helpers.speech import CHOICES, QUESTION, RATE, noise, stock_logprobs

import speechprune
from speechprune import Answer
from speechprune.audio import AudioError
from speechprune.pruners import Pruner


def test_ask_from_a_file(model, tmp_path):
    soundfile.write(tmp_path / "talk.wav", noise(40), RATE)
    answer = model.ask(tmp_path / "talk.wav", QUESTION, CHOICES, rate=0.4)
    assert isinstance(answer, Answer)
    assert (answer.tokens, answer.total_tokens, answer.pruner, answer.rate) == (450, 1000, "speechprune", 0.4)
    assert list(answer.probabilities) == CHOICES
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert answer.choice == CHOICES[answer.index] == max(answer.probabilities, key=answer.probabilities.get)
    assert answer.letter == "ABCD"[answer.index]
    assert sum(end - start for start, end in answer.kept) == pytest.approx(450 / 25)
    assert all(end <= start for (_, end), (start, _) in zip(answer.kept, answer.kept[1:], strict=False))
    assert answer.kept[-1][1] <= 40
    assert f"{answer.letter}. {answer.choice}" in str(answer)
    assert "read 450 of 1000 audio tokens (speechprune, rate 0.4)" in str(answer)
    assert model.ask(str(tmp_path / "talk.wav"), QUESTION, CHOICES, rate=0.4) == answer


def test_ask_with_everything_kept_is_the_stock_answer(model, stock):
    answer = model.ask((noise(3), RATE), QUESTION, CHOICES, pruner="full")
    expected = stock_logprobs(stock, noise(3)).softmax(-1)
    torch.testing.assert_close(torch.tensor(list(answer.probabilities.values())), expected, atol=1e-4, rtol=0)
    assert (answer.kept, answer.tokens, answer.total_tokens, answer.rate) == ([(0.0, 3.0)], 75, 75, None)


def test_an_answer_that_is_no_number_is_none(model, monkeypatch):
    monkeypatch.setattr(type(model), "choice_logprobs", lambda *_: torch.tensor([[torch.nan, 0.0]]))
    with pytest.raises(ValueError, match=r"gave log-probabilities of \[nan, 0\.0\]; use --dtype float32"):
        model.ask((noise(3), RATE), QUESTION, CHOICES[:2], pruner="full")


def test_ask_by_cloze_is_what_the_audio_adds_to_each_choice(model):
    """The prompt shows no choice; a choice that is likely anyway gains nothing from that."""
    answer = model.ask((noise(3), RATE), QUESTION, CHOICES, pruner="full", mode="cloze")
    audio, prompt = model.project(model.encode(noise(3))), model.prompt(QUESTION, None)
    ids = [model.continuations(prompt, CHOICES)]
    (heard,), (unheard,) = (model.cloze_logprobs([tokens], [prompt], ids) for tokens in (audio, audio[:0]))
    expected = (torch.tensor(heard) - torch.tensor(unheard)).softmax(-1)
    assert list(answer.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-4)
    assert answer.index == int(expected.argmax())
    assert answer.tokens == 75
    assert answer.mode == "cloze"
    assert "read 75 of 75 audio tokens (full, cloze)" in str(answer)
    by_letter = model.ask((noise(3), RATE), QUESTION, CHOICES, pruner="full")
    assert list(by_letter.probabilities.values()) != pytest.approx(expected.tolist(), abs=1e-3)


class Picked(Pruner):
    name = title = "picked"

    def __init__(self, indices):
        self.indices, self.seen = indices, None

    def select(self, inputs, keep):
        self.seen = inputs, keep
        return torch.tensor([self.indices])


def test_ask_with_a_pruner_object(model):
    pruner = Picked([3, 4, 5, 9, 20, 21, -1])
    answer = model.ask((noise(2), RATE), QUESTION, CHOICES, pruner=pruner, rate=0.5, query="question", seed=7)
    assert answer.kept == [(0.12, 0.24), (0.36, 0.4), (0.8, 0.88)]
    assert (answer.tokens, answer.total_tokens, answer.pruner) == (6, 50, "picked")
    inputs, keep = pruner.seen
    assert (keep, inputs.window, inputs.frame_rate, tuple(inputs.seeds)) == (375, 750, 25.0, (7,))
    assert inputs.first_layer is model.first_layer
    assert torch.equal(inputs.T[0], model.embed_text(QUESTION))
    assert torch.equal(inputs.S[0], model.project(model.encode(noise(2))))
    prompt = model.prompt(QUESTION, CHOICES)
    expected = model.choice_logprobs([inputs.S[0][[3, 4, 5, 9, 20, 21]]], [prompt], 4)[0].softmax(-1)
    assert list(answer.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-6)
    model.ask((noise(2), RATE), QUESTION, CHOICES, pruner=pruner)
    assert torch.equal(pruner.seen[0].T[0], model.embed_text("Who speaks? Anna Ben Carl Dora"))


def test_ask_seeds_random_pruners(model):
    kept = [model.ask((noise(40), RATE), QUESTION, CHOICES, pruner="rap", seed=seed).kept for seed in (0, 0, 1)]
    assert kept[0] == kept[1] != kept[2]


def test_ask_resamples(model):
    """Twice the rate, a tone that both rates hold: the same probabilities but for the filter's edges."""
    time = np.arange(2 * 32000) / 32000
    tone = (0.3 * np.sin(2 * np.pi * 440 * time) * np.sin(np.pi * time / 2)).astype(np.float32)
    fast = model.ask((tone, 32000), QUESTION, CHOICES, pruner="full")
    slow = model.ask((tone[::2], RATE), QUESTION, CHOICES, pruner="full")
    assert fast.total_tokens == slow.total_tokens == 50
    assert list(fast.probabilities.values()) == pytest.approx(list(slow.probabilities.values()), abs=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choices": ["one"]}, "1 choice for 'Who speaks\\?'; give 2 to 10"),
        ({"question": " "}, "the question is empty"),
        ({"rate": 1.0}, "rate=1.0; the share of audio tokens to remove is at least 0 and below 1"),
        ({"rate": -0.1}, "rate=-0.1"),
        ({"rate": float("nan")}, "rate=nan"),
        ({"pruner": "best"}, "unknown pruner 'best'; choose from: .*full.*speechprune"),
        ({"query": "choices"}, "unknown query 'choices'"),
        ({"mode": "generate"}, "unknown mode 'generate'; choose from: logprob, cloze"),
        ({"mode": "cloze", "choices": ["one"]}, "1 choice for 'Who speaks\\?'; give 2 to 10"),
        ({"audio": (np.zeros((2, 16000), np.float32), RATE)}, r"shape \(2, 16000\); expected \(T,\), one channel"),
        ({"audio": (np.full(16000, np.inf, np.float32), RATE)}, "window 0 holds NaN or infinite samples"),
    ],
)
def test_ask_refuses(model, changes, message):
    arguments = {"audio": (noise(1), RATE), "question": QUESTION, "choices": CHOICES, "pruner": "rap"} | changes
    with pytest.raises(ValueError, match=message):
        model.ask(**arguments)


def test_ask_passes_audio_errors_on(model, tmp_path):
    (tmp_path / "text.wav").write_text("not audio")
    for name in ("text.wav", "missing.wav"):
        with pytest.raises(AudioError, match=name):
            model.ask(tmp_path / name, QUESTION, CHOICES)


def test_budget(model):
    assert [model.budget(rate) for rate in (0, 0.2, 0.4, 0.6, 0.8, 0.9999)] == [750, 600, 450, 300, 150, 1]


@pytest.fixture
def encoded(model, monkeypatch):
    """Windows that the encoder was given."""
    counts, encode = [], model._encode
    monkeypatch.setattr(model, "_encode", lambda windows, first: counts.append(len(windows)) or encode(windows, first))
    return counts


def test_original_hears_no_more_than_it_reads(model, encoded):
    answer = model.ask((noise(100), RATE), QUESTION, CHOICES, pruner="original")
    assert encoded == [1]
    assert (answer.tokens, answer.total_tokens, answer.kept) == (750, 2500, [(0.0, 30.0)])
    assert model.ask((noise(1.3), RATE), QUESTION, CHOICES, pruner="original").total_tokens == 32


def test_full_refuses_before_it_hears(model, encoded):
    seconds = 330  # 8,250 tokens
    with pytest.raises(ValueError, match=r"\d+ positions \(8250 audio tokens\), but .* reads 8192 at most; keep fewer"):
        model.ask((np.zeros(seconds * RATE, np.float32), RATE), QUESTION, CHOICES, pruner="full")
    assert encoded == []


def test_a_long_question_is_told_to_be_shorter(model, encoded):
    with pytest.raises(ValueError, match=r"question and its choices are 1\d{4} tokens .* 8192 at most; shorten them"):
        model.ask((noise(1), RATE), "Why? " * 2000, CHOICES)
    assert encoded == []
    audio, prompt = model.project(model.encode(noise(1))), model.prompt("Why? " * 2000, CHOICES)
    with pytest.raises(ValueError, match="shorten them"):
        model.choice_logprobs([audio], [prompt], 4)


def test_choices_are_checked_in_cloze_before_anything_is_heard(model, encoded):
    with pytest.raises(ValueError, match=r"8192 at most; shorten them"):
        model.ask((noise(1), RATE), QUESTION, ["Anna " * 9000, "Ben"], mode="cloze")
    with pytest.raises(ValueError, match="audio placeholder"):
        model.ask((noise(1), RATE), QUESTION, ["Anna", model._processor.audio_token], mode="cloze")
    assert encoded == []


def test_progress_of_a_long_recording(model, capsys):
    model.ask((np.zeros(9 * 30 * RATE, np.float32), RATE), QUESTION, CHOICES, progress=True)
    assert "hear: 100%" in capsys.readouterr().err
    model.ask((noise(31), RATE), QUESTION, CHOICES, progress=True)
    assert capsys.readouterr().err == ""


ASKED = "assert found.ask.__name__ == 'ask'"
IMPORTS = {
    "package": f"import speechprune; found = speechprune.SpeechLLM; {ASKED}",
    "name": f"from speechprune import SpeechLLM as found; {ASKED}",
    "family first": f"import speechprune.models.qwen2_audio; from speechprune import SpeechLLM as found; {ASKED}",
    "asking first": f"import speechprune.asking, speechprune; found = speechprune.SpeechLLM; {ASKED}",
    "answer": f"from speechprune import Answer; import speechprune; found = speechprune.SpeechLLM; {ASKED}",
    "models alone": """
from speechprune.models.base import SpeechLLM
from speechprune.common.registry import subclasses
assert len(subclasses("speechprune.models", SpeechLLM)) > 8
assert "speechprune.asking" not in sys.modules
""",
    "transformers as it was": """
from transformers import AutoModel
before = len(AutoModel._model_mapping._extra_content)
from speechprune.common.registry import submodules
assert "gemma" in submodules("speechprune.models")
assert len(AutoModel._model_mapping._extra_content) == before
""",
}


def test_any_import_finds_ask_and_models_import_nothing_that_stands_above_them():
    """Each way in a process of its own; a process that has imported torch and transformers, once, forks them."""
    code = """
import json, os, sys, torch, transformers
for name, way in json.loads(sys.argv[1]).items():
    if not (child := os.fork()):
        exec(way)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(name)
"""
    subprocess.run([sys.executable, "-c", code, json.dumps(IMPORTS)], check=True)


def test_no_module_has_the_name_of_a_public_function():
    """Importing such a module would overwrite the function."""
    found = pkgutil.iter_modules(speechprune.__path__, "speechprune.")
    for package in ("speechprune", *(module.name for module in found if module.ispkg)):
        room = importlib.import_module(package)
        names = getattr(room, "__all__", dir(room))
        functions = {name for name in names if inspect.isfunction(getattr(room, name))}
        assert not functions & {module.name for module in pkgutil.iter_modules(room.__path__)}, package
