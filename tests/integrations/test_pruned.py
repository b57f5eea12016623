"""``speechprune.pruned`` around the stock Qwen2-Audio; the other families are in tests/models/test_model_matrix.py."""

from __future__ import annotations

import warnings

import pytest
import torch
from helpers.speech import CHOICES, QUESTION, RATE, noise, stock_inputs
from helpers.tiny import make_tiny_qwen2_audio
from helpers.tiny_families import make_tiny
from transformers import LlamaConfig, LlamaForCausalLM

import speechprune
from speechprune import SpeechLLM
from speechprune.common.defaults import SEED
from speechprune.integrations.cut_off import CutWarning
from speechprune.prompts import format_question
from speechprune.pruners import PAD, PruneInputs, get_pruner

KEEP = 12
QUERIES = [QUESTION, "Why so loud?"]


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return SpeechLLM.from_pretrained(make_tiny_qwen2_audio(tmp_path_factory.mktemp("tiny")), device="cpu")


@pytest.fixture(scope="module")
def stock(llm):
    return llm._model, llm._processor


@pytest.fixture(scope="module")
def batch(stock):
    """Two rows of unlike length: unlike audio behind unlike text, padded on the left."""
    stock[1].tokenizer.padding_side = "left"
    return stock[1](text=texts(stock), audio=clips(), sampling_rate=RATE, padding=True, return_tensors="pt")


def clips():
    return [noise(2.3), noise(5.1, 1)]


def texts(stock):
    contents = [[{"type": "audio"}, {"type": "text", "text": format_question(q, CHOICES)}] for q in QUERIES]
    return [
        stock[1].apply_chat_template([{"role": "user", "content": c}], add_generation_prompt=True, tokenize=False)
        for c in contents
    ]


def chosen(llm, samples, query, pruner):
    """Of one recording, by the library's own way: indices, and the tokens that stand there."""
    signals: dict = {}
    S = llm.project(torch.cat(list(llm.encode_parts([samples], signals))))
    inputs = PruneInputs.single(
        S,
        llm.embed_text(query),
        frame_rate=llm.frame_rate,
        window=llm.window,
        first_layer=llm.first_layer,
        seed=SEED,
        signals={name: torch.cat(parts) for name, parts in signals.items()},
        first_pass=llm.first_pass([llm.prompt(query, CHOICES)]),
    )
    if not pruner.merges:
        (index,) = pruner.select(inputs, KEEP)
        return index, S[index]
    (merged,) = pruner.merge_each(inputs, [KEEP])
    return merged.index[0], merged.tokens(S[None])[0]


def replies(llm, inputs, ids):
    new = ids[:, inputs["input_ids"].shape[1] :]
    return [llm._processor.tokenizer.decode(row, skip_special_tokens=True).strip() for row in new]


@pytest.mark.parametrize("name", ["speechprune", "rap", "a_tome", "fastv", "attention"])
def test_equals_our_own_decoding(llm, stock, batch, name):
    """Selection, with a query and without, merging, a first pass of the LLM, a signal of the encoder."""
    pruner = get_pruner(name)
    own = [chosen(llm, samples, query, pruner) for samples, query in zip(clips(), QUERIES, strict=True)]
    prompts = [llm.prompt(query, CHOICES) for query in QUERIES]
    with speechprune.pruned(*stock, pruner, keep=KEEP, query=QUERIES) as seen, torch.no_grad():
        logits = stock[0](**batch).logits
        ids = stock[0].generate(**batch, max_new_tokens=6, do_sample=False)
    for kept, (index, _) in zip(seen.kept, own, strict=True):
        assert torch.equal(kept, index[index != PAD])
    letters = stock[1].tokenizer.convert_tokens_to_ids(list("ABCD"))
    expected = llm.choice_logprobs([tokens for _, tokens in own], prompts, 4)
    torch.testing.assert_close(logits[:, -1].log_softmax(-1)[:, letters], expected, atol=1e-5, rtol=0)
    assert torch.equal(ids[:, : batch["input_ids"].shape[1]], batch["input_ids"])
    assert replies(llm, batch, ids) == llm.generate([tokens for _, tokens in own], prompts, 6)


def test_rate_is_of_the_window_and_spans_are_seconds(stock, batch):
    with speechprune.pruned(*stock, "rap", rate=0.9) as seen, torch.no_grad():
        stock[0](**batch)
    assert [len(kept) for kept in seen.kept] == [57, 75]  # 750 x 0.1, of 57 and 127
    assert seen.totals == [57, 127]
    assert seen.spans[0] == [(0.0, 57 / 25)]


def test_any_loop_reads_the_same(stock, batch):
    """Without a cache, with one of the caller's own, and with padding on the right."""
    model, width = stock[0], batch["input_ids"].shape[1]
    with speechprune.pruned(*stock, keep=KEEP, query=QUERIES), torch.no_grad():
        expected = model.generate(**batch, max_new_tokens=5, do_sample=False)
        assert torch.equal(model.generate(**batch, max_new_tokens=5, do_sample=False, use_cache=False), expected)
        out, mask = model(**batch), batch["attention_mask"]
        for step in range(1, 5):
            mask = torch.cat([mask, mask.new_ones(2, 1)], dim=1)
            ids = expected[:, width + step - 1, None]
            out = model(input_ids=ids, attention_mask=mask, past_key_values=out.past_key_values)
            assert torch.equal(out.logits[:, -1].argmax(-1), expected[:, width + step])
        left = model(**batch).logits
        padded = [int((row == 0).sum()) for row in batch["attention_mask"]]
        turned = {
            name: torch.stack([row.roll(-n) for row, n in zip(batch[name], padded, strict=True)])
            for name in ("input_ids", "attention_mask")
        }
        right = model(**{**batch, **turned}).logits
    for row, n in enumerate(padded):
        torch.testing.assert_close(right[row, width - n - 1], left[row, -1], atol=1e-5, rtol=0)


def test_text_alone_is_as_ever(stock):
    ids = stock[1].tokenizer("Hello <|AUDIO|>", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = stock[0](input_ids=ids).logits
        with speechprune.pruned(*stock, "rap", keep=1) as seen:
            assert torch.equal(stock[0](input_ids=ids).logits, expected)
    assert seen.kept == []


def test_leaving_the_block_restores_the_model(stock, batch):
    model, processor = stock

    def state():
        hooks = [(len(m._forward_pre_hooks), len(m._forward_hooks)) for m in model.modules()]
        return hooks, sorted(vars(model)), type(processor), model.training, [m.training for m in model.modules()]

    model.train()
    before = state()
    with torch.no_grad():
        expected = model(**batch).logits
        with pytest.raises(KeyError, match="mine"), speechprune.pruned(*stock, "rap", keep=1):
            assert state() != before and not torch.equal(model(**batch).logits, expected)
            raise KeyError("mine")
        assert state() == before and torch.equal(model(**batch).logits, expected)
    wrong = speechprune.pruned(*stock, keep=1, query=["a", "b", "c"])
    with pytest.raises(ValueError, match="3 queries for a batch of 2 rows"), wrong, torch.no_grad():
        model(**batch)
    assert state() == before
    model.eval()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 2}, r"beam search \(num_beams=2\)"),
        ({"num_return_sequences": 2, "do_sample": True}, "several replies to one prompt"),
        ({"prompt_lookup_num_tokens": 3}, "prompt lookup decoding"),
        ({"cache_implementation": "static"}, r"a cache of a fixed size \(cache_implementation='static'\)"),
        ({"assistant_model": object()}, r"assisted decoding \(assistant_model\)"),
    ],
)
def test_what_cannot_work_is_refused(stock, batch, options, message):
    with speechprune.pruned(*stock, "rap", keep=1), pytest.raises(ValueError, match=message):
        stock[0].generate(**batch, **options)


def test_beams_of_the_configuration_are_refused(stock, batch, monkeypatch):
    monkeypatch.setattr(stock[0].generation_config, "num_beams", 3)
    with speechprune.pruned(*stock, "rap", keep=1), pytest.raises(ValueError, match="beam search"):
        stock[0].generate(**batch)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep": 3}, "speechprune compares the audio with a text; give query="),
        ({"pruner": "energy", "keep": 3}, "energy needs energy, which the forward of Qwen2AudioFor.* does not tell"),
        ({"pruner": "rap", "keep": 3, "rate": 0.5}, "rate=0.5 and keep=3; give one of them"),
        ({"pruner": "rap", "rate": 1.0}, r"rate=1\.0; the share"),
        ({"pruner": "rap", "keep": 0}, "keep=0"),
        ({"pruner": "rap", "keep": 2.5}, r"keep=2\.5; keep a whole number of audio tokens"),
    ],
)
def test_arguments_are_checked(stock, arguments, message):
    with pytest.raises(ValueError, match=message), speechprune.pruned(*stock, **arguments):
        pytest.fail("the block was entered")


def test_models_are_checked(stock, tmp_path):
    with speechprune.pruned(*stock, "rap"), pytest.raises(ValueError, match="inside another pruned"):
        speechprune.pruned(*stock, "rap").__enter__()
    llama = LlamaForCausalLM(
        LlamaConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)
    )
    with pytest.raises(ValueError, match="unknown model_type 'llama'; families: "):
        speechprune.pruned(llama, stock[1], "rap").__enter__()
    other = SpeechLLM.from_pretrained(make_tiny("glmasr", tmp_path), device="cpu")
    with pytest.raises(ValueError, match="the model is a GlmAsrModel; give its GlmAsrForConditionalGeneration"):
        speechprune.pruned(other._model.model, other._processor, "rap").__enter__()


def test_ids_must_tell_where_the_audio_is(stock, batch):
    embeds = stock[0].get_input_embeddings()(batch["input_ids"])
    with speechprune.pruned(*stock, "rap", keep=1), torch.no_grad():
        with pytest.raises(ValueError, match="needs input_ids"):
            stock[0](inputs_embeds=embeds)
        wide = torch.ones(2, 1, 3, 3, dtype=torch.bool)
        with pytest.raises(ValueError, match=r"attention masks of shape \(rows, tokens\)"):
            stock[0](**{**batch, "attention_mask": wide})
        single = stock[1].tokenizer(texts(stock), padding=True, return_tensors="pt")  # a placeholder of each audio
        with pytest.raises(ValueError, match="make them with the processor"):
            stock[0](**{**batch, **single})
        cache = stock[0](**batch).past_key_values
        with pytest.raises(ValueError, match="prunes audio at the beginning alone"):
            stock[0](**batch, past_key_values=cache)


def test_what_the_processor_cut_is_named(stock):
    """Called inside the block its input is known; made before, its result tells that it may have cut."""
    inputs, short = stock_inputs(stock, noise(61.3)), stock_inputs(stock, noise(2))
    fills = pytest.warns(CutWarning, match=r"fills the 30\.0 s .* the seconds from 30\.0 on were cut")
    with speechprune.pruned(*stock, "rap", keep=5), torch.no_grad(), fills:
        stock[0](**inputs)
    with speechprune.pruned(*stock, "rap", keep=5), torch.no_grad():
        with pytest.warns(CutWarning, match=r"Qwen2AudioProcessor cut recording 0: seconds 30\.0 to 61\.3"):
            again = stock_inputs(stock, noise(61.3))
        stock[0](**again)
    with warnings.catch_warnings(), speechprune.pruned(*stock, "rap", keep=5), torch.no_grad():
        warnings.simplefilter("error")
        stock[0](**short)
