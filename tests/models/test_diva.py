"""DiVA: a tiny folder in the published layout, against a forward written here from its pieces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import torch
from helpers.speech import CHOICES, QUESTION, RATE, edit_json, noise
from helpers.speech_configs import TEXT, WHISPER
from helpers.tiny import tiny_tokenizer
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from speechprune import SpeechLLM
from speechprune.decoding.chunks import with_chunks
from speechprune.prompts import format_question

QUERIES, HIDDEN = 9, TEXT["hidden_size"]
# As Llama 3.1's: a date between the first line and the system's text.
TEMPLATE = (
    "<B>{% for m in messages %}<H>{{ m.role }}</H>\n\n{% if m.role == 'system' %}Today: 1 May\n\n{% endif %}"
    "{{ m.content }}<E>{% endfor %}{% if add_generation_prompt %}<H>assistant</H>\n\n{% endif %}"
)
BEFORE = "<B><H>system</H>\n\nWho speaks?\nA. Anna\nB. Ben\nC. Carl\nD. Dora\nAnswer with the letter.<E><H>user</H>\n\n"
AFTER = "<E><H>assistant</H>\n\n"


def wide(model, seed):
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def make_diva(folder: Path) -> Path:
    """Encoder and LLM in folders of their own, and beside them the keys that the published file holds."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in ("<B>", "<H>", "</H>", "<E>")])
    tokenizer.chat_template = TEMPLATE
    end = tokenizer.convert_tokens_to_ids("<E>")
    config = LlamaConfig(**TEXT | {"vocab_size": len(tokenizer), "eos_token_id": end, "bos_token_id": None})
    llm = wide(LlamaForCausalLM(config), 1)
    llm.save_pretrained(folder / "llama")
    tokenizer.save_pretrained(folder / "llama")
    sizes = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
    sizes |= {"decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 16, "max_target_positions": QUERIES}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 1}
    whisper = WhisperForConditionalGeneration(
        WhisperConfig(num_mel_bins=WHISPER["num_mel_bins"], vocab_size=20, **sizes, **ids)
    )
    wide(whisper, 2).save_pretrained(folder / "whisper")
    WhisperFeatureExtractor(feature_size=8, chunk_length=30).save_pretrained(folder / "whisper")
    connector = wide(whisper.model.decoder, 3).state_dict()  # trained away from Whisper's own decoder
    generator = torch.Generator().manual_seed(4)
    weights = {f"connector.{name}": tensor.clone() for name, tensor in connector.items()}
    weights["query_tokens"] = torch.randn(QUERIES, 16, generator=generator)
    weights["projection.weight"] = torch.randn(16, HIDDEN, generator=generator)
    weights["projection.bias"] = torch.randn(HIDDEN, generator=generator)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    names = {"model_type": "diva", "reference_encoder": "whisper", "reference_decoder": str(folder / "llama")}
    (folder / "config.json").write_text(json.dumps(names))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_diva(tmp_path_factory.mktemp("diva"))


@pytest.fixture(scope="module")
def model(folder):
    return SpeechLLM.from_pretrained(folder, device="cpu")


@torch.no_grad()
def independent(folder, samples, question=QUESTION, choices=CHOICES):
    """Virtual tokens (Q, D) and logits of the last position, from the stock models and the file's raw tensors."""
    weights = load_file(folder / "model.safetensors")
    whisper = WhisperForConditionalGeneration.from_pretrained(folder / "whisper").eval()
    features = WhisperFeatureExtractor.from_pretrained(folder / "whisper")(
        samples, sampling_rate=RATE, return_tensors="pt"
    )
    encoded = whisper.model.encoder(features["input_features"])[0]
    prefix = "connector."
    whisper.model.decoder.load_state_dict({k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)})
    read = whisper.model.decoder(inputs_embeds=weights["query_tokens"][None], encoder_hidden_states=encoded)[0][0]
    tokens = read @ weights["projection.weight"] + weights["projection.bias"]
    llm = LlamaForCausalLM.from_pretrained(folder / "llama").eval()
    tokenizer = tiny_tokenizer().from_pretrained(folder / "llama")
    before = BEFORE.replace(format_question(QUESTION, CHOICES), format_question(question, choices))
    parts = [llm.get_input_embeddings()(torch.tensor(tokenizer(text)["input_ids"])) for text in (before, AFTER)]
    logits = llm(inputs_embeds=torch.cat([parts[0], tokens, parts[1]])[None]).logits[0, -1]
    return tokens, logits.log_softmax(-1)[tokenizer.convert_tokens_to_ids(list("ABCD"))]


def test_geometry_and_prompt(model):
    assert (model.window, model.window_seconds, model.frame_rate) == (QUERIES, 30, QUERIES / 30)
    prompt = model.prompt(QUESTION, CHOICES)
    assert model._tokenizer.decode(prompt.before) == BEFORE
    assert model._tokenizer.decode(prompt.after) == AFTER


@pytest.mark.parametrize("seconds", [2, 30])
def test_against_the_independent_forward(model, folder, seconds):
    tokens, expected = independent(folder, noise(seconds))
    audio = model.project(model.encode(noise(seconds)))
    torch.testing.assert_close(audio, tokens, atol=1e-4, rtol=1e-4)
    ours = model.choice_logprobs([audio], [model.prompt(QUESTION, CHOICES)], 4)[0]
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)
    other = model.choice_logprobs([audio[::2]], [model.prompt(QUESTION, CHOICES)], 4)[0]
    assert (other - expected).abs().max() > 1e-2


def test_windows_are_joined_and_states_are_small(model):
    states = model.encode(noise(61))
    assert states.shape == (3 * QUERIES, 16)  # before the projector: what is stored
    alone = model.encode(noise(61)[30 * RATE : 60 * RATE])
    torch.testing.assert_close(states[QUERIES : 2 * QUERIES], alone, atol=1e-5, rtol=0)
    parts = states.split([5, QUERIES, 2 * QUERIES - 5])  # every state is projected by itself
    torch.testing.assert_close(torch.cat([model.project(part) for part in parts]), model.project(states))


def test_generate_stops_at_llamas_end_of_turn(model, folder):
    audio, prompt = model.project(model.encode(noise(2))), model.prompt(QUESTION, CHOICES)
    llm = LlamaForCausalLM.from_pretrained(folder / "llama")
    embed = llm.get_input_embeddings()
    ids = torch.tensor(prompt.before), torch.tensor(prompt.after)
    embeds = torch.cat([embed(ids[0]), audio, embed(ids[1])])[None]
    expected = llm.generate(inputs_embeds=embeds, max_new_tokens=8, do_sample=False, pad_token_id=0)[0]
    assert model.generate([audio], [prompt], 8) == [model._tokenizer.decode(expected, skip_special_tokens=True).strip()]
    batch = model.generate([audio, audio[1:4]], [prompt, model.prompt("Why?", ["a", "b"])], 8)
    assert batch[0] == model.generate([audio], [prompt], 8)[0]


def test_several_audios_are_refused_by_name(model):
    with pytest.raises(ValueError, match="a prompt of its family holds one audio, and method chunks needs several"):
        with_chunks(model)


def test_ask_and_original_positions(model, tmp_path):
    soundfile.write(tmp_path / "talk.wav", noise(40), RATE)
    answer = model.ask(tmp_path / "talk.wav", QUESTION, CHOICES, rate=0.5)
    assert (answer.tokens, answer.total_tokens) == (round(QUERIES * 0.5), 2 * QUERIES)
    audio, prompt = model.project(model.encode(noise(2))), model.prompt(QUESTION, CHOICES)
    every = model.choice_logprobs([audio], [prompt], 4, positions=[torch.arange(QUERIES)], total=[QUERIES])
    torch.testing.assert_close(every, model.choice_logprobs([audio], [prompt], 4), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: edit_json(f / "config.json", reference_encoder=None), "config.json names no reference_encoder"),
        (lambda f: edit_json(f / "config.json", reference_decoder="/nowhere/x"), "no model folder at"),
        (lambda f: without(f, "query_tokens"), "the weights lack query_tokens"),
        (lambda f: without(f, "connector.layers.0.fc1.weight"), "do not fit the models that it names"),
        (
            lambda f: edit_json(f / "llama" / "tokenizer_config.json", chat_template=None),
            "lacks what llama models need: a chat template",
        ),
    ],
)
def test_broken_folders_are_named(tmp_path, spoil, message):
    folder = make_diva(tmp_path)
    for file in (folder / "llama").glob("chat_template*"):
        if "chat template" in message:
            file.unlink()
    spoil(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        SpeechLLM.from_pretrained(folder, device="cpu")


def without(folder, name):
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
