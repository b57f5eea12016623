"""Every family of the generic adapter against its stock processor and forward, on tiny random weights."""

from __future__ import annotations

import pytest
import torch
from helpers.speech import CHOICES, QUESTION, RATE, noise
from helpers.tiny_families import FAMILIES, make_tiny
from torch.nn.utils.rnn import pad_sequence

import speechprune
from speechprune import SpeechLLM
from speechprune.common.registry import subclasses
from speechprune.models import Prompt
from speechprune.models.huggingface import HuggingFace
from speechprune.prompts import format_question

TEXT = {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"}  # of what a processor makes
# Stock models that hear long audio in windows that 30 s are a whole number of, too.
WINDOWED = ("audioflamingo3", "gemma4_unified", "glmasr", "musicflamingo", "qwen2_5_omni_thinker")
# Their processors put several audios into one prompt.
SEVERAL = ("qwen2_5_omni_thinker", "qwen3_omni_moe_thinker")
MARKS = (  # around audio, in one family or another
    *("<|audio_bos|>", "<|audio_eos|>", "<|sound_bos|>", "<|sound_eos|>", "<|begin_of_audio|>", "<|end_of_audio|>"),
    *("<|audio_start|>", "<|audio_end|>", "<boa>", "<eoa>", "[BEGIN_AUDIO]"),
)


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def llm(request, tmp_path_factory):
    return SpeechLLM.from_pretrained(make_tiny(request.param, tmp_path_factory.mktemp(request.param)), device="cpu")


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    return lambda name, **config: make_tiny(name, tmp_path_factory.mktemp("one"), **config)


def family(llm) -> str:
    return llm._folder.model_type


def stock_inputs(llm, samples, choices=CHOICES):
    """What anyone would give the stock model, by its processor alone."""
    processor = llm._processor
    if family(llm) == "voxtral":  # its processor refuses audio without mistral-common; its own steps, written out
        features = processor._retrieve_input_features([samples], **processor.audio_kwargs)
        prompt = llm.prompt(QUESTION, choices)
        ids = torch.tensor([[*prompt.before, *[24] * (375 * len(features)), *prompt.after]])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "input_features": features}
    token, text = processor.audio_token, format_question(QUESTION, choices)
    parts = [{"type": "audio"}, {"type": "text", "text": text}]
    strings = family(llm) in ("granite_speech", "phi4_multimodal")
    conversation = [{"role": "user", "content": token + text if strings else parts}]
    template = processor.tokenizer.chat_template
    chat = processor.apply_chat_template(
        conversation, chat_template=template, add_generation_prompt=True, tokenize=False
    )
    return processor(text=[chat], audio=[samples], sampling_rate=RATE, return_tensors="pt")


@torch.no_grad()
def stock_logprobs(llm, inputs):
    ids = llm._processor.tokenizer.convert_tokens_to_ids(list("ABCD"))
    return llm._model(**inputs).logits[0, -1].log_softmax(-1)[ids]


def read(llm, seconds, seed=0):
    return llm.project(llm.encode(noise(seconds, seed)))


def test_every_family_has_a_row():
    served = {kind for cls in subclasses("speechprune.models", HuggingFace).values() for kind in cls.model_types}
    # The two are loaded from folders of the whole model, by the classes of their thinkers.
    assert served - {"qwen2_5_omni", "qwen3_omni_moe"} == set(FAMILIES)


def test_prompt_snapshot(llm):
    before, after, window = FAMILIES[family(llm)].snapshot
    prompt = llm.prompt(QUESTION, CHOICES)
    assert llm._processor.tokenizer.decode(prompt.before) == before
    assert llm._processor.tokenizer.decode(prompt.after) == after
    assert (llm.window, llm.window_seconds, llm.sampling_rate, llm.frame_rate) == (window, 30, RATE, window / 30)
    with pytest.raises(ValueError, match="must not contain"):
        llm.prompt(f"What is {llm._processor.audio_token}?", CHOICES)


@pytest.mark.parametrize("seconds", [1.3, 30])
def test_all_tokens_give_the_stock_logits_and_reply(llm, seconds):
    if seconds not in FAMILIES[family(llm)].exact_seconds:
        pytest.skip("the stock model reads padding tokens, which the adapter strips; tested in test_model_families")
    samples = noise(seconds)
    audio, prompt = llm.project(llm.encode(samples)), llm.prompt(QUESTION, CHOICES)
    inputs = stock_inputs(llm, samples)
    assert inputs["input_ids"][0].tolist() == [*prompt.before, *[llm._audio_id] * len(audio), *prompt.after]
    ours = llm.choice_logprobs([audio], [prompt], 4)[0]
    torch.testing.assert_close(ours, stock_logprobs(llm, inputs), atol=1e-4, rtol=0)

    ids = llm._model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    expected = llm._processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
    if family(llm) == "granite_speech":
        llm._model.enable_adapters()
    assert llm.generate([audio], [prompt], max_new_tokens=6) == [expected]


@torch.no_grad()
def test_cloze_is_what_the_stock_model_makes_of_every_answer(llm):
    """Each answer behind the prompt, alone, in the stock forward; here all of them at once, behind one audio."""
    seconds, answers = FAMILIES[family(llm)].exact_seconds[0], ["Anna", "Ben and Carl", "D"]
    audio, prompt = read(llm, seconds), llm.prompt(QUESTION, None)
    continuations = llm.continuations(prompt, answers)
    assert [llm._tokenizer.decode(ids) for ids in continuations] == answers
    (ours,) = llm.cloze_logprobs([audio], [prompt], [continuations])
    inputs = dict(stock_inputs(llm, noise(seconds), None))
    width = inputs["input_ids"].shape[1]
    for found, ids in zip(ours, continuations, strict=True):
        longer = {
            name: torch.cat([value, value[:, -1:].expand(-1, len(ids))], dim=1) if value.shape == (1, width) else value
            for name, value in inputs.items()
        }
        longer["input_ids"][0, width:] = torch.tensor(ids)
        logprobs = llm._model(**longer).logits[0, width - 1 : -1].log_softmax(-1)
        expected = logprobs[torch.arange(len(ids)), torch.tensor(ids)].sum()
        torch.testing.assert_close(torch.tensor(found), expected, atol=5e-4, rtol=0)


@torch.no_grad()
def test_a_transcript_stands_where_the_audio_would(llm):
    """Without the audio's own marks; and it is read as the stock model reads text."""
    prompt, text = llm.prompt(QUESTION, CHOICES), "Anna has a red bag."
    found, count = llm.with_text(prompt, text)
    before, after, _ = FAMILIES[family(llm)].snapshot
    for mark in MARKS:
        before, after = before.removesuffix(mark), after.removeprefix(mark)
    shown = llm._tokenizer.decode([*found.before, *found.after])
    space, end = " " * (not before[-1:].isspace() and before[-1:] != ">"), "\n" * (after[:1] not in "\n<")
    assert shown == f"{before}{space}{text}{end}{after}"
    assert llm._tokenizer.decode(found.before[-count:]) == f"{space}{text}{end}"
    ids = torch.tensor([[*found.before, *found.after]])
    nothing = read(llm, 1)[:0]
    ours = llm.choice_logprobs([nothing], [found], 4)[0]
    stock = stock_logprobs(llm, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    torch.testing.assert_close(ours, stock, atol=1e-4, rtol=0)


@torch.no_grad()
def test_two_audios_in_one_prompt_as_the_stock_model_reads_them(llm):
    """Or a refusal by name, where the family's prompt holds one."""
    if family(llm) not in SEVERAL:
        with pytest.raises(ValueError, match="a prompt of its family holds one audio, and method chunks needs several"):
            llm.prompt_of_chunks(QUESTION, CHOICES, 2)
        return
    samples = noise(60)
    pieces = llm.project(llm.encode(samples)).split(llm.window)
    before, between, after = llm.prompt_of_chunks(QUESTION, CHOICES, 2)
    ours = llm.choice_logprobs([llm.interleave(pieces, [between])], [Prompt(before, after)], 4)[0]
    chat = llm._chat(format_question(QUESTION, CHOICES), 2)
    inputs = llm._processor(
        text=[chat], audio=[samples[: 30 * RATE], samples[30 * RATE :]], sampling_rate=RATE, return_tensors="pt"
    )
    torch.testing.assert_close(ours, stock_logprobs(llm, inputs), atol=1e-4, rtol=0)


def test_long_recordings_as_the_stock_model_reads_them(llm):
    if family(llm) not in WINDOWED:
        pytest.skip("the stock model encodes, or scales, across the ends of 30 s windows, or stops at the first")
    samples = noise(61.3)
    audio, prompt = llm.project(llm.encode(samples)), llm.prompt(QUESTION, CHOICES)
    ours = llm.choice_logprobs([audio], [prompt], 4)[0]
    torch.testing.assert_close(ours, stock_logprobs(llm, stock_inputs(llm, samples)), atol=1e-4, rtol=0)


def test_the_logits_depend_on_the_audio(llm):
    """Guards the comparisons above: with weights that ignore the audio they would hold for any adapter."""
    prompt = llm.prompt(QUESTION, CHOICES)
    one, other = (llm.choice_logprobs([read(llm, 2, seed)], [prompt], 4) for seed in (1, 2))
    cut = llm.choice_logprobs([read(llm, 2, 1)[:10]], [prompt], 4)
    assert (one - other).abs().max() > 1e-3
    assert (one - cut).abs().max() > 1e-3


def test_every_state_is_projected_by_itself(llm):
    states = llm.encode(noise(3))
    parts = [llm.project(part) for part in states.split([1, 4, len(states) - 5])]
    torch.testing.assert_close(torch.cat(parts), llm.project(states))


def test_batch_equals_single_and_pruned_decoding_runs(llm):
    audio = [read(llm, 1, 1)[::2], read(llm, 31, 2)[::9], read(llm, 3, 3)[5:]]
    prompts = [llm.prompt("Short?", ["a", "b"]), llm.prompt(QUESTION, CHOICES), llm.prompt("Why " * 9, CHOICES)]
    batch = llm.choice_logprobs(audio, prompts, [2, 4, 3])
    for row, n in enumerate((2, 4, 3)):
        single = llm.choice_logprobs([audio[row]], [prompts[row]], n)[0]
        torch.testing.assert_close(batch[row, :n], single, atol=1e-4, rtol=0)
    replies = [llm.generate([tokens], [prompt], 5)[0] for tokens, prompt in zip(audio, prompts, strict=True)]
    assert llm.generate(audio, prompts, 5) == replies
    same = llm.choice_logprobs([audio[0]] * 3, prompts, 2)  # read once
    apart = llm.choice_logprobs([audio[0].clone() for _ in prompts], prompts, 2)
    torch.testing.assert_close(same, apart, atol=1e-4, rtol=0)


def test_pruned_around_the_stock_model_is_our_own_decoding(llm):
    """Two rows, padded on the left, of which each has its own query: the same tokens kept, logits and replies."""
    queries, keep = [QUESTION, "Why so loud?"], 9
    recordings = [noise(FAMILIES[family(llm)].exact_seconds[0], seed) for seed in (3, 4)]
    rows = [stock_inputs(llm, *row) for row in zip(recordings, [CHOICES, None], strict=True)]
    prompts = [llm.prompt(QUESTION, choices) for choices in (CHOICES, None)]
    inputs = {name: torch.cat([row[name] for row in rows]) for name in rows[0] if name not in TEXT}
    for name in TEXT & rows[0].keys():
        inputs[name] = pad_sequence([row[name][0] for row in rows], batch_first=True, padding_side="left")
    with speechprune.pruned(llm._model, llm._processor, keep=keep, query=queries) as seen, torch.no_grad():
        logits = llm._model(**inputs).logits[:, -1]
        ids = llm._model.generate(**inputs, max_new_tokens=5, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    if family(llm) == "granite_speech":
        llm._model.enable_adapters()
    heard = [llm.project(llm.encode(samples)) for samples in recordings]
    options = {"frame_rate": llm.frame_rate, "window": llm.window, "first_layer": llm.first_layer}
    own = [
        speechprune.SpeechPrune()(S, llm.embed_text(query), keep=keep, **options)
        for S, query in zip(heard, queries, strict=True)
    ]
    assert [kept.tolist() for kept in seen.kept] == [kept.tolist() for kept in own]
    read = [S[kept] for S, kept in zip(heard, own, strict=True)]
    letters = llm._tokenizer.convert_tokens_to_ids(list("ABCD"))
    torch.testing.assert_close(
        logits.log_softmax(-1)[:, letters], llm.choice_logprobs(read, prompts, 4), atol=1e-4, rtol=0
    )
    replies = [llm._tokenizer.decode(row, skip_special_tokens=True).strip() for row in ids]
    assert replies == llm.generate(read, prompts, 5)


def test_positions(llm, make):
    """Original positions: as if the dropped tokens were masked out of the stock model's full input."""
    if getattr(llm._text_config, "sliding_window", None):  # counts what was dropped there, and what is left here
        llm = SpeechLLM.from_pretrained(make(family(llm), sliding_window=4096), device="cpu")
    seconds = FAMILIES[family(llm)].exact_seconds[0]
    audio, prompt = read(llm, seconds), llm.prompt(QUESTION, CHOICES)
    kept, total = torch.tensor([1, 2, len(audio) // 2, len(audio) - 1]), [len(audio)]
    original = llm.choice_logprobs([audio[kept]], [prompt], 4, positions=[kept], total=total)
    anew = llm.choice_logprobs([audio[kept]], [prompt], 4)
    assert (original - anew).abs().max() > 1e-4
    inputs = dict(stock_inputs(llm, noise(seconds)))
    holes, places = torch.ones_like(inputs["input_ids"]), inputs["input_ids"][0] == llm._audio_id
    holes[0, places] = torch.zeros(len(audio), dtype=torch.long).index_fill(0, kept, 1)
    positions = torch.arange(holes.shape[1])[None]
    masked = stock_logprobs(llm, inputs | {"attention_mask": holes, "position_ids": positions})
    torch.testing.assert_close(original[0], masked, atol=1e-4, rtol=0)


def test_first_layer_is_that_of_the_model(llm):
    """Against the projections at work: what the layer's own modules make of a random input, LoRA included."""
    layer, x = llm.first_layer, torch.randn(5, llm.first_layer.q_weight.shape[1], generator=torch.manual_seed(0))
    attention = llm._decoder.layers[0].self_attn
    with torch.no_grad():
        if hasattr(attention, "qkv_proj"):
            query, key, _ = attention.qkv_proj(x).split(
                [len(layer.q_weight), len(layer.k_weight), len(layer.k_weight)], -1
            )
        else:
            query, key = attention.q_proj(x), attention.k_proj(x)
    torch.testing.assert_close(x @ layer.q_weight.T + (layer.q_bias if layer.q_bias is not None else 0), query)
    torch.testing.assert_close(x @ layer.k_weight.T + (layer.k_bias if layer.k_bias is not None else 0), key)
    assert layer.head_dim * layer.num_kv_heads == len(layer.k_weight)
