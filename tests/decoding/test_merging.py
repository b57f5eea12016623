"""Stage 3 with pruners that merge, that need signals, and that take a first pass of the LLM."""

from __future__ import annotations

import pytest
import torch
from helpers.decoding import WINDOW, answer, config_of, make_dump, make_recordings, system

from speechprune.decoding.choosing import evidence_mask
from speechprune.decoding.hypotheses import read_hypotheses, unpack_tokens
from speechprune.decoding.stage import decode
from speechprune.decoding.systems import load_config
from speechprune.pruners import Attention, FastV, LateInteraction, Pooling, PruneInputs, VisionZip

N = 100


@pytest.fixture(scope="module")
def tokens(model):
    return model.project(torch.randn(N, 16, generator=torch.Generator().manual_seed(1)))


def test_the_model_reads_the_sums(model, tokens):
    (replies,) = answer(model, tokens, [system(Pooling(), 0.5)]).values()
    expected = torch.stack([part.mean(0) for part in tokens.split(N // 20)])
    for reply in replies:
        torch.testing.assert_close(reply.tokens(), expected)
        assert reply.sources.tolist() == list(range(N))
        assert reply.indices.tolist() == list(range(0, N, N // 20))
    alone = model.choice_logprobs([expected], [replies[0].prompt], 4)[0]
    assert replies[0].logprobs == pytest.approx(alone.tolist(), abs=1e-4)


def test_controls_merge_what_they_hear(model, tokens):
    (replies,) = answer(model, tokens, [system(Pooling(), 0.5, audio="no_evidence", name="x")]).values()
    spans = replies[0].question["evidence"]
    heard = torch.nonzero(~evidence_mask(spans, N, model.frame_rate, margin=0.2))[:, 0]
    assert replies[0].sources.tolist() == heard.tolist()
    torch.testing.assert_close(replies[0].tokens()[0], tokens[heard[: len(heard) // 20]].mean(0))


@pytest.fixture(scope="module")
def decoded(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("merging")
    cuts = make_recordings(folder)
    dump = make_dump(folder, cuts, model)
    config_of(folder, rates=[0.5], systems=["pooling", "visionzip", "attention", "energy", "fastv", "rap"])
    decode(dump, folder / "exp", load_config(folder / "decode.yaml"), model, progress=False)
    return read_hypotheses(folder / "exp", []).rows


def test_rows_of_a_merger_say_what_is_heard(decoded):
    rows = [row for row in decoded if row["system"] == "pooling"]
    assert all(row["error"] is None for row in rows) and len(rows) == 12
    for row in rows:
        assert row["tokens"] == min(WINDOW // 2, row["total_tokens"])
        assert len(unpack_tokens(row["kept"], row["total_tokens"])) == row["total_tokens"]
        if row["evidence_recall"] is not None:
            assert row["evidence_recall"] == 1.0
            assert row["evidence_precision"] < 1


def test_signals_of_the_dump_reach_the_pruners(decoded):
    for name in ("visionzip", "attention", "energy"):
        rows = [row for row in decoded if row["system"] == name]
        assert len(rows) == 12 and all(row["error"] is None for row in rows)


def test_rows_of_a_first_pass_carry_what_enters_each_layer(decoded):
    for row in decoded:
        if row["system"] == "fastv":
            assert row["error"] is None
            assert row["layer_tokens"] == [row["tokens"] + row["total_tokens"]] * 2  # the tiny LLM has two layers
        else:
            assert "layer_tokens" not in row


def test_what_a_model_cannot_give_is_refused_by_name(model, tmp_path):
    dump = make_dump(tmp_path, make_recordings(tmp_path, (1.2,)), model)
    config_of(tmp_path, rates=[0.5], systems=["iterative_fusion"])
    config = load_config(tmp_path / "decode.yaml")
    with pytest.raises(ValueError, match="iterative_fusion needs ctc, which tiny does not give: only energy, encoder"):
        decode(dump, tmp_path / "exp", config, model, progress=False)
    assert not (tmp_path / "exp").exists()


def test_a_dump_without_signals_makes_error_rows(model, tokens):
    found = answer(model, tokens, [system(Attention(), 0.5), system(VisionZip(), 0.5)])
    for replies in found.values():
        assert {reply.error.split(";")[0] for reply in replies} == {
            "no signal 'encoder_attention' beside the audio tokens"
        }


def test_the_choices_are_told_from_the_question(model, tokens):
    """Late interaction's rows are those of a call by hand with the query's parts."""
    (replies,) = answer(model, tokens, [system(LateInteraction(seconds=0.2), 0.5)]).values()
    for reply in replies:
        question = reply.question
        T, parts = model.embed_query(question["question"], question["choices"], "question+choices")
        assert parts.tolist() == sorted(parts.tolist()) and int(parts.max()) == len(question["choices"])
        assert int((parts == 0).sum()) == len(model.embed_text(question["question"]))
        index = LateInteraction(seconds=0.2)(tokens, T, keep=20, window=WINDOW, choices=parts)
        assert reply.indices.tolist() == index.tolist()


def test_a_first_pass_sees_the_prompt(model, tokens):
    (replies,) = answer(model, tokens, [system(FastV(), 0.5)]).values()
    prompts = [reply.prompt for reply in replies]
    inputs = PruneInputs.single(tokens, tokens[:1], first_pass=model.first_pass(prompts[:1]))
    assert replies[0].indices.tolist() == FastV().select(inputs, 20)[0].tolist()
    assert len({tuple(reply.indices.tolist()) for reply in replies}) == len(replies)
