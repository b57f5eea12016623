"""Configurations of speech LLMs as they stand in config.json: Qwen2-Audio-7B, and tiny ones of every family."""

from __future__ import annotations

# The audio encoder's sizes are the defaults of Qwen2AudioConfig. Of Qwen2Config's defaults, hidden size, layers and
# heads are the 7B's, the width of the FFN (22016) and the vocabulary (151936) are not.
SEVEN_B = {
    "model_type": "qwen2_audio",
    "text_config": {
        "model_type": "qwen2",
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 156032,
    },
}

TEXT = {
    "vocab_size": 64,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "max_position_embeddings": 4096,
}
OMNI_TEXT = TEXT | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 1]}}
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 20, "mlp_only_layers": [1]}
AUDIO = {"num_mel_bins": 8, "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 40}
WHISPER = {
    "num_mel_bins": 8,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
VISION = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 24}
CONFORMER = {"input_dim": 8, "num_layers": 3, "hidden_dim": 16, "num_heads": 2, "dim_head": 6, "output_dim": 7}
Q_FORMER = {"hidden_size": 12, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 20}
TINY = {
    "qwen2_audio": {
        "text_config": TEXT | {"model_type": "qwen2"},
        "audio_config": AUDIO | {"model_type": "qwen2_audio_encoder", "max_source_positions": 20},
    },
    "voxtral": {
        "text_config": TEXT | {"model_type": "llama"},
        "audio_config": WHISPER | {"model_type": "voxtral_encoder", "max_source_positions": 20},
    },
    "audioflamingo3": {
        "text_config": TEXT | {"model_type": "qwen2"},
        "audio_config": WHISPER | {"model_type": "audioflamingo3_encoder", "max_source_positions": 20},
    },
    "glmasr": {
        "text_config": TEXT | {"model_type": "llama"},
        "audio_config": WHISPER | {"model_type": "glmasr_encoder", "num_key_value_heads": 2},
    },
    "qwen2_5_omni_thinker": {
        "text_config": OMNI_TEXT,
        "audio_config": AUDIO | {"output_dim": 24, "n_window": 70},  # 30 s are no whole number of these
        "vision_config": VISION,
    },
    "qwen3_omni_moe_thinker": {
        "text_config": OMNI_TEXT | EXPERTS,
        "audio_config": AUDIO | {"output_dim": 24, "downsample_hidden_size": 6},
        "vision_config": VISION,
    },
    "qwen3_asr": {
        "text_config": TEXT | {"model_type": "qwen3"},
        "audio_config": AUDIO | {"model_type": "qwen3_asr_encoder", "output_dim": 24, "downsample_hidden_size": 6},
    },
    "granite_speech": {
        "text_config": TEXT | {"model_type": "granite", "logits_scaling": 3.0, "embedding_multiplier": 2.0},
        "encoder_config": CONFORMER,
        "projector_config": Q_FORMER | {"model_type": "blip_2_qformer", "encoder_hidden_size": 16},
    },
}
# Six layers: the last two read the keys and values of the two before them. The window is shorter than any prompt.
GEMMA = TEXT | {
    "num_hidden_layers": 6,
    "num_kv_shared_layers": 2,
    "layer_types": [*3 * ["sliding_attention"], "full_attention", "sliding_attention", "full_attention"],
    "sliding_window": 24,
    "hidden_size_per_layer_input": 6,
    "final_logit_softcapping": 5.0,
}
# Apart: no cost formula counts them.
TINY_GEMMA = {
    "gemma3n": {
        "text_config": GEMMA
        | {"altup_num_inputs": 2, "laurel_rank": 4, "activation_sparsity_pattern": [0.5] + 5 * [0.0]},
        "vision_config": {"hidden_size": 16},
        "audio_config": {
            "hidden_size": 16,
            "input_feat_size": 8,
            "conf_num_attention_heads": 2,
            "conf_num_hidden_layers": 2,
            "sscp_conv_channel_size": [4, 4],
        },
    },
    "gemma4": {
        "text_config": GEMMA | {"global_head_dim": 20, "num_global_key_value_heads": 1, "attention_k_eq_v": True},
        "vision_config": None,
        "audio_config": {
            "hidden_size": 16,
            "num_attention_heads": 2,
            "num_hidden_layers": 2,
            "subsampling_conv_channels": [8, 4],
            "output_proj_dims": 12,
        },
    },
    "gemma4_unified": {
        "text_config": {key: value for key, value in GEMMA.items() if key != "hidden_size_per_layer_input"},
        "vision_config": None,
        "audio_config": {"audio_embed_dim": 640},
    },
}
