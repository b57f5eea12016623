"""Questions, pruners and batches that fail: each fails alone, with one clear line."""

from __future__ import annotations

import weakref

import pytest
import torch
from helpers.decoding import RECORDING, answer, questions, system

from speechprune.common.errors import DeviceError
from speechprune.decoding.answering import Answerer
from speechprune.decoding.batches import Reply
from speechprune.models import Prompt
from speechprune.pruners import RAP, Full, Original, Phase1, PruneInputs


@pytest.fixture(scope="module")
def tokens(model):
    return model.project(torch.randn(100, 16, generator=torch.Generator().manual_seed(1)))


def test_questions_that_fail_leave_the_others_alone(model, tokens):
    asked = [*questions(RECORDING), questions(RECORDING)[0] | {"id": "bad", "question": "What is <|AUDIO|>?"}]
    systems = [system(Full(), name="cut", audio="no_evidence"), system(RAP(), 0.2), system(Phase1(), 0.2)]
    found = answer(model, tokens, systems, asked)
    holds = "the prompt holds the audio placeholder '<|AUDIO|>' 2 times"
    for folder in ("rap_0.2", "phase1_0.2"):
        assert [reply.error for reply in found[folder][:3]] == [None] * 3
        assert found[folder][3].error.startswith(holds)
    errors = [reply.error for reply in found["cut"]]
    assert errors[:2] == [None, None]
    assert errors[2] == "the question has no evidence spans, which its control would leave out"
    assert errors[3].startswith(holds)
    for folder, replies in found.items():
        for reply in replies:
            assert (reply.logprobs is None) == (reply.error is not None), folder


def test_evidence_everywhere_leaves_nothing_to_read(model, tokens):
    asked = questions(RECORDING)
    asked[0]["evidence"] = [{"start": 0.1, "duration": 3.8}]
    replies = answer(model, tokens, [system(Full(), name="cut", audio="no_evidence")], asked)["cut"]
    assert replies[0].error == "nothing is left of the recording without the question's evidence"
    assert replies[1].error is None


def test_a_row_too_long_for_the_model_stands_alone(model, tokens, monkeypatch):
    lengths = [reply.start + reply.end for reply in answer(model, tokens, [system(Full())])["full"]]
    monkeypatch.setattr(model, "max_positions", max(lengths) - 1)
    found = answer(model, tokens, [system(Full()), system(Original())])
    assert lengths.index(max(lengths)) == 1
    assert f"{max(lengths)} positions (100 audio tokens), but tiny reads {max(lengths) - 1}" in found["full"][1].error
    assert [reply.error for reply in found["full"][::2]] == [None, None]
    assert [reply.error for reply in found["original"]] == [None] * 3


@pytest.mark.parametrize("mode", ["logprob", "cloze"])
def test_a_question_too_long_for_the_model_is_embedded_by_nobody(model, tokens, monkeypatch, mode):
    seen = []
    monkeypatch.setattr(type(model), "embed_text", lambda _, text: seen.append(text) or torch.ones(1, tokens.shape[1]))
    asked = [questions(RECORDING)[0] | {"choices": ["a" * 10_000, "b"]}, questions(RECORDING)[1]]
    long, short = answer(model, tokens, [one := system(Phase1(), 0.2, mode=mode)], asked)[one.folder]
    assert "but tiny reads 8192 at most; shorten them" in long.error
    assert short.error is None
    assert seen
    assert max(map(len, seen)) < 1000


def test_a_pruner_that_fails_fails_alone(model, tokens):
    class Broken(Full):
        name = "broken"

        def select(self, inputs: PruneInputs, keep: int) -> torch.Tensor:
            raise IndexError("no such\n  token")

    found = answer(model, tokens, [system(Broken()), system(Full())])
    assert [reply.error for reply in found["broken"]] == ["IndexError: no such token"] * 3
    assert [reply.error for reply in found["full"]] == [None] * 3


def test_out_of_memory_halves_the_batch_and_says_so(model, tokens, monkeypatch, caplog):
    prefill = model.choice_logprobs

    def small(audio, *rest, **options):
        if len(audio) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return prefill(audio, *rest, **options)

    expected = [reply.logprobs for reply in answer(model, tokens, [system(Full())], batch_tokens=1)["full"]]
    monkeypatch.setattr(model, "choice_logprobs", small)
    found = answer(model, tokens, [system(Full())])["full"]
    assert [reply.logprobs for reply in found] == expected
    assert "out of GPU memory with 3 rows" in caplog.text


def test_log_probabilities_that_are_no_numbers_are_an_error(model, tokens, monkeypatch):
    prefill = model.choice_logprobs

    def poisoned(*args, **options):
        found = prefill(*args, **options).clone()
        found[0, 1] = torch.nan
        return found

    monkeypatch.setattr(model, "choice_logprobs", poisoned)
    replies = answer(model, tokens, [system(Full())])["full"]
    assert sorted(reply.error is None for reply in replies) == [False, True, True]
    assert "nan" in next(reply.error for reply in replies if reply.error)


def test_what_a_failed_prefill_held_is_free_before_the_next(model, tokens, monkeypatch):
    prefill, alive = model.choice_logprobs, []

    def small(audio, *rest, **options):
        assert [ref() for ref in alive] == [None] * len(alive)
        if len(audio) > 1:
            scratch = torch.ones(3)
            alive.append(weakref.ref(scratch))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return prefill(audio, *rest, **options)

    monkeypatch.setattr(model, "choice_logprobs", small)
    answerer = Answerer(model, 1000)
    ((_, replies),) = answerer.answer(RECORDING, tokens, questions(RECORDING), [system(Full())])
    assert [reply.error for reply in replies] == [None] * 3
    assert len(alive) == 1
    assert answerer.batch_tokens == 333  # one row of three: the next recording starts there


class Gpu:
    """Holds ``rows`` rows and no more; ``bad`` rows fail for another reason. Notes the size of every attempt."""

    def __init__(self, model, rows, bad=()):
        self.rows, self.bad, self.sizes, self.prefill = rows, bad, [], model.choice_logprobs

    def __call__(self, audio, prompts, counts, **places):
        self.sizes.append(len(audio))
        if len(audio) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if any(id(prompt) in self.bad for prompt in prompts):
            raise ValueError("a bad row")
        return torch.zeros(len(audio), 4).log_softmax(-1)


def many(model, rows) -> list[Reply]:
    heard = torch.zeros(rows, model.embed_text("a").shape[1])
    asked = [{"choices": list("abcd")} for _ in range(rows)]
    return [Reply(q, Prompt((1,), (2,) * 500), heard, torch.tensor([k])) for k, q in enumerate(asked)]


def test_one_shortage_of_memory_sets_the_size_once(model, monkeypatch):
    """64 rows of which 8 fit."""
    gpu, answerer = Gpu(model, 8), Answerer(model, 32_768, together=True)
    monkeypatch.setattr(model, "choice_logprobs", gpu)
    replies = many(model, 64)
    answerer._ask(system(Full()), 64, replies)
    assert gpu.sizes == [64, 32, 16, *[8] * 8]
    assert answerer.batch_tokens == 4_096
    assert [reply.error for reply in replies] == [None] * 64
    answerer._ask(system(Full()), 64, many(model, 64))  # the next recording
    assert set(gpu.sizes[11:]) <= set(range(1, 9))
    assert answerer.batch_tokens == 4_096


def test_a_bad_row_says_nothing_about_memory(model, monkeypatch):
    replies = many(model, 64)
    gpu, answerer = Gpu(model, 32, {id(replies[0].prompt)}), Answerer(model, 32_768, together=True)
    monkeypatch.setattr(model, "choice_logprobs", gpu)
    answerer._ask(system(Full()), 64, replies)
    assert [reply.error for reply in replies] == ["a bad row"] + [None] * 63
    assert answerer.batch_tokens >= 16_384


def test_a_gpu_that_is_gone_ends_the_run_and_leaves_no_rows(model, tokens, monkeypatch):
    def gone(*_, **__):
        raise torch.AcceleratorError("CUDA error:\nan illegal memory access")

    monkeypatch.setattr(model, "choice_logprobs", gone)
    with pytest.raises(DeviceError, match=r"^the GPU failed \(.* an illegal memory access.*\); finished work is kept"):
        answer(model, tokens, [system(Full())])
    monkeypatch.undo()
    monkeypatch.setattr(model, "embed_text", gone)  # while tokens are chosen
    with pytest.raises(DeviceError):
        answer(model, tokens, [system(Phase1(), 0.5)])


def test_a_rate_that_cannot_be_kept_fails_alone(model, tokens):
    floor = Phase1(remainder="floor")
    found = answer(model, tokens, [system(floor, 0.2), system(floor, 0.95)])
    alone = answer(model, tokens, [system(floor, 0.2)])
    assert [reply.error for reply in found["phase1_0.2"]] == [None] * 3
    assert [r.logprobs for r in found["phase1_0.2"]] == [r.logprobs for r in alone["phase1_0.2"]]
    assert all("keep=2 over 4 frames" in reply.error for reply in found["phase1_0.95"])


def test_a_question_that_a_pruner_refuses_fails_alone(model, tokens, monkeypatch):
    embed = model.embed_text

    def refuse(text):
        if "colour" in text:
            raise ValueError("no such colour")
        return embed(text)

    monkeypatch.setattr(model, "embed_text", refuse)
    found = answer(model, tokens, [system(Phase1(), 0.5), system(Phase1(), 0.2)])
    for replies in found.values():
        assert [reply.error for reply in replies] == ["no such colour", None, None]
