"""What is published beside weights: Whisper's encoder is the Qwen2-Audio tower's; prompts are what templates say."""

from __future__ import annotations

from hashlib import sha256

import pytest
from helpers.fakes import speechlike
from helpers.tiny import make_tiny_qwen2_audio
from helpers.tiny_parts import SECONDS, write_whisper
from helpers.whisper_tower import apart
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from speechprune import SpeechLLM

QUESTION, CHOICES = "Which city is Anna from?", ("London", "Vienna", "Paris", "Boston")
# What jinja2 makes of this question and https://huggingface.co/Qwen/Qwen2-Audio-7B-Instruct, refs/pr/13
# (7dd1230), chat_template.json: one user message, an audio and the text. The template is another's and not kept here.
PUBLISHED = "b178f810d8f9c9e92cb0cdb850e56b8b2202318e976ef77a44cf26f53f2e1a79"
# As that template, in our words: what it takes for an audio is a part with a key of that name, whatever its type says.
BY_KEY = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if 'audio' in part or 'audio_url' in part %}[<|AUDIO|>]\n{% elif 'text' in part %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
)


def test_whispers_encoder_is_the_towers(tmp_path):
    whisper = WhisperForConditionalGeneration.from_pretrained(write_whisper(tmp_path)).eval()
    extractor = WhisperFeatureExtractor.from_pretrained(tmp_path)
    assert apart(whisper, extractor, speechlike(float(SECONDS), 0)[:, 0]) < 1e-5


def test_a_tower_of_other_weights_is_told_apart(tmp_path):
    whisper = WhisperForConditionalGeneration.from_pretrained(write_whisper(tmp_path)).eval()
    extractor = WhisperFeatureExtractor.from_pretrained(tmp_path)
    hooked = whisper.model.encoder.layers[1].register_forward_hook(lambda _module, _args, out: out.roll(1, -1))
    try:
        assert apart(whisper, extractor, speechlike(float(SECONDS), 0)[:, 0]) > 1e-3
    finally:
        hooked.remove()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_qwen2_audio(tmp_path_factory.mktemp("tiny"))


def prompt_of(folder) -> str:
    model = SpeechLLM.from_pretrained(folder, device="cpu")
    prompt = model.prompt(QUESTION, CHOICES)
    return model._tokenizer.decode((*prompt.before, model._audio_id, *prompt.after))


def test_our_prompt_is_the_published_templates(folder):
    assert sha256(prompt_of(folder).encode()).hexdigest() == PUBLISHED


def test_a_template_that_looks_for_the_key_finds_the_audio(folder):
    template = folder / "chat_template.jinja"
    template.write_text(BY_KEY)
    try:
        assert "[<|AUDIO|>]\nWhich city is Anna from?\nA. London" in prompt_of(folder)
    finally:
        template.unlink()
