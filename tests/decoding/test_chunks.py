"""``method: chunks``: every window of a recording as an audio of its own in one prompt."""

from __future__ import annotations

import pytest
import torch
from helpers.decoding import RECORDING, answer, config_of, make_dump, make_recordings, merged, questions, run, system
from helpers.fakes import speechlike
from helpers.tiny import make_tiny_qwen2_audio
from helpers.tiny_families import make_tiny

from speechprune import SpeechLLM
from speechprune.decoding.chunks import Chunks
from speechprune.prompts import format_question


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """The tiny model with its own window of 30 s."""
    return SpeechLLM.from_pretrained(make_tiny_qwen2_audio(tmp_path_factory.mktemp("stock")), device="cpu")


@torch.no_grad()
def test_answers_are_those_of_the_stock_model_given_two_audios(stock):
    samples, asked = speechlike(41.3, 0)[:, 0], questions(RECORDING)[:1]
    tokens = stock.project(stock.encode(samples))
    (reply,) = answer(stock, tokens, [system(Chunks())], asked)["chunks"]
    content = [{"type": "audio"}] * 2
    content.append({"type": "text", "text": format_question(asked[0]["question"], asked[0]["choices"])})
    processor, cut = stock._processor, 30 * 16000
    chat = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    assert "Audio 1: " in chat and "Audio 2: " in chat
    inputs = processor(text=chat, audio=[samples[:cut], samples[cut:]], sampling_rate=16000, return_tensors="pt")
    ids = processor.tokenizer.convert_tokens_to_ids(list("ABCD"))
    expected = stock._model(**inputs).logits[0, -1].log_softmax(-1)[ids]
    assert reply.error is None
    assert reply.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
    assert len(reply.indices) == len(tokens)


@pytest.mark.parametrize("mode", ["logprob", "cloze", "generate"])
def test_rows_hear_everything(model, tmp_path, mode):
    dump = make_dump(tmp_path, make_recordings(tmp_path, (4.0, 1.2)), model)
    (done,) = run(dump, tmp_path / "exp", config_of(tmp_path, systems=["chunks", "full"]).changed(mode=mode), model)
    assert (done.done, done.failed) == (12, 0)
    rows = merged(tmp_path / "exp")
    for k in range(3):
        chunks, full = (rows[name, None, f"{RECORDING}-q{k}"] for name in ("chunks", "full"))
        same = ("tokens", "total_tokens", "kept", "evidence_recall", "evidence_precision", "rate")
        assert {key: chunks[key] for key in same} == {key: full[key] for key in same}
        if mode != "generate":  # 100 tokens, a window of 40: three audios
            assert chunks["choice_logprobs"] != full["choice_logprobs"]
            one = rows["chunks", None, f"test-0001-q{k}"]["choice_logprobs"]  # 30 tokens: one audio, the same prompt
            assert one == pytest.approx(rows["full", None, f"test-0001-q{k}"]["choice_logprobs"], abs=1e-4)


def test_questions_share_what_was_heard(model, monkeypatch):
    tokens = model.project(torch.randn(100, 16, generator=torch.Generator().manual_seed(1)))
    replies = answer(model, tokens, [system(Chunks())])["chunks"]
    assert len({id(reply.joined) for reply in replies}) == 1
    before, *between, _ = model.prompt_of_chunks("?", None, 3)
    assert replies[0].start == len(before) + 100 + sum(map(len, between))
    pieces = tokens.split(40)
    gaps = [model._embed(ids).float() for ids in between]
    expected = torch.cat([pieces[0], gaps[0], pieces[1], gaps[1], pieces[2]])
    torch.testing.assert_close(replies[0].joined, expected, atol=0, rtol=0)


def test_a_model_whose_prompt_holds_one_audio_is_refused_by_name(tmp_path):
    other = SpeechLLM.from_pretrained(make_tiny("audioflamingo3", tmp_path / "flamingo"), device="cpu")
    dump = make_dump(tmp_path, make_recordings(tmp_path, (1.2,)), other)
    with pytest.raises(ValueError, match=r"flamingo: a prompt of its family holds one audio, and method chunks needs"):
        run(dump, tmp_path / "exp", config_of(tmp_path, systems=["chunks"]), other)
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"method": "chunks", "seconds": 30}, "unknown option 'seconds'; chunks has none"),
        ({"method": "chunks", "audio": "silence"}, "chunks with audio 'silence'; it needs the recording"),
        ({"method": "chunks", "positions": "original"}, "positions 'original'; chunks drops nothing"),
        ({"method": "chunks", "rates": [0.2]}, "chunks has no rate"),
    ],
)
def test_what_is_refused(tmp_path, entry, message):
    with pytest.raises(ValueError, match=message):
        config_of(tmp_path, systems=[entry])


def test_a_long_prompt_is_an_error_row(model, monkeypatch):
    tokens = model.project(torch.randn(100, 16))
    monkeypatch.setattr(model, "max_positions", 200)
    replies = answer(model, tokens, [system(Chunks())])["chunks"]
    assert all("but tiny reads 200" in reply.error for reply in replies)
