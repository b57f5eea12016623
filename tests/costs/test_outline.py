"""What is known of a model from config.json alone: DiVA's Q-Former by torch's counter, sizes that were published."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.speech_configs import SEVEN_B, TEXT
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedConfig, WhisperConfig, WhisperModel

from speechprune.costs.audio_encoder import diva_cost
from speechprune.costs.count import true_costs
from speechprune.costs.outline import outline
from speechprune.costs.published_configs import PUBLISHED, qwen2_audio_7b
from speechprune.models.folder import ModelFolder

HIDDEN = TEXT["hidden_size"]


@pytest.fixture
def whisper() -> WhisperConfig:
    sizes = {"encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 40}
    sizes |= {"decoder_layers": 3, "decoder_attention_heads": 2, "decoder_ffn_dim": 24}
    sizes |= {"max_source_positions": 30, "max_target_positions": 7, "pad_token_id": 0}
    return WhisperConfig(vocab_size=20, num_mel_bins=8, d_model=16, attn_implementation="eager", **sizes)


@torch.no_grad()
def test_divas_encoder_and_q_former_to_the_last_flop(whisper):
    model = WhisperModel(whisper)
    with FlopCounterMode(display=False) as counter:
        states = model.encoder(torch.zeros(1, 8, 60)).last_hidden_state
        model.decoder(inputs_embeds=torch.zeros(1, 7, 16), encoder_hidden_states=states, use_cache=False)
    found = diva_cost(whisper, HIDDEN)
    assert (found.tokens, found.seconds) == (7, 0.6)
    assert (found.encoder_flop, found.projector_flop) == (counter.get_total_flops(), 2 * 7 * 16 * HIDDEN)


def test_a_folder_that_names_its_parts(tmp_path, whisper):
    llama = LlamaConfig(**TEXT)
    for name, config in (("ears", whisper), ("llm", llama)):
        config.save_pretrained(tmp_path / name)
    names = {"model_type": "diva", "reference_encoder": "ears", "reference_decoder": str(tmp_path / "llm")}
    (tmp_path / "config.json").write_text(json.dumps(names))
    found = outline(tmp_path)
    sizes = [sum(w.numel() for w in model.parameters()) for model in (LlamaForCausalLM(llama), WhisperModel(whisper))]
    assert found.parameters == sum(sizes) + 16 * HIDDEN
    assert (found.state_width, found.encoder.tokens, found.as_published) == (16, 7, False)


def test_a_hub_that_is_away_leaves_the_sizes_that_were_published(monkeypatch, tmp_path):
    def away(*_args, **_options):
        raise FileNotFoundError("the hub cannot be reached")

    monkeypatch.setattr(ModelFolder, "open", away)
    qwen, diva = map(outline, PUBLISHED)
    assert (qwen.as_published, diva.as_published) == (True, True)
    assert qwen.parameters == 8_397_094_912
    assert round(diva.parameters / 1e9, 1) == 9.6  # Llama 3's 8.0, Whisper's 1.5
    assert (qwen.frame_rate, diva.encoder.tokens) == (25, 448)
    with pytest.raises(FileNotFoundError):
        outline("someone/else")


def test_sizes_of_the_published_configuration_are_those_of_the_costs_page(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SEVEN_B))
    found, config = outline(tmp_path), qwen2_audio_7b()
    assert isinstance(config, PreTrainedConfig)
    assert found.parameters == true_costs(config, 750, 107).parameters
    assert found.token_bytes(2) > 524_288  # keys and values of Table I, and a layer's work
    assert found.dump_bytes(30.0) == 2 * 750 * 1280
