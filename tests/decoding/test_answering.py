"""What each system reads and is asked: batches, controls, queries and positions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.decoding import RECORDING, WINDOW, answer, questions, system

from speechprune.decoding.answering import Answerer
from speechprune.decoding.batches import Reply, batches
from speechprune.decoding.choosing import evidence_mask
from speechprune.models import Prompt
from speechprune.pruners import PAD, RAC, RAP, Full, Original, Phase1, SpeechPrune

N = 100


@pytest.fixture(scope="module")
def tokens(model):
    return model.project(torch.randn(N, 16, generator=torch.Generator().manual_seed(1)))


def spans_of(mask: torch.Tensor) -> list[int]:
    return torch.nonzero(mask)[:, 0].tolist()


class Spy:
    """Notes the calls of a model's or a pruner's method, and passes them on."""

    def __init__(self, monkeypatch, owner, name):
        self.calls = []
        original = getattr(owner, name)

        def call(*args, **kwargs):
            self.calls.append((args, kwargs))
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)


# Work that is shared


def test_a_systems_questions_are_pruned_in_one_batch_and_share_a_prefill(model, tokens, monkeypatch):
    rap, phase1 = Spy(monkeypatch, RAP, "select_each"), Spy(monkeypatch, Phase1, "select")
    prefill, prompt = Spy(monkeypatch, model, "choice_logprobs"), Spy(monkeypatch, model, "prompt")
    systems = [system(RAP(), 0.2), system(RAP(), 0.6), system(Phase1(), 0.2), system(Full())]
    answer(model, tokens, systems)
    # A choice without a query is made once for all questions.
    assert [(inputs.S.shape[:2], keeps) for (_, inputs, keeps), _ in rap.calls] == [((1, N), [32, 16])]
    assert [(inputs.S.shape[:2], keep) for (_, inputs, keep), _ in phase1.calls] == [((3, N), 32)]
    assert [len(audio) for (audio, *_), _ in prefill.calls] == [3, 3, 3, 3]
    assert len(prompt.calls) == 3


@pytest.mark.parametrize(("batch_tokens", "sizes"), [(1, [1] * 6), (470, [2, 2, 2]), (700, [3, 3]), (10**6, [6])])
def test_rows_of_like_length_share_a_prefill(model, tokens, monkeypatch, batch_tokens, sizes):
    prefill = Spy(monkeypatch, model, "choice_logprobs")
    short, long = questions(RECORDING)[0], questions(RECORDING)[0] | {"question": "Why" + " o" * 25 + "?"}
    asked = [{**(short, long)[k % 2], "id": f"{RECORDING}-q{k}"} for k in range(6)]
    answer(model, tokens, [system(Phase1(), 0.0)], asked, batch_tokens)
    lengths = [
        [len(a) + len(p.before) + len(p.after) for a, p in zip(*args[:2], strict=True)] for args, _ in prefill.calls
    ]
    assert [len(batch) for batch in lengths] == sizes
    in_order = [length for batch in lengths for length in batch]
    assert in_order == sorted(in_order, reverse=True)
    assert all(len(batch) == 1 or len(batch) * max(batch) <= batch_tokens for batch in lengths)
    if batch_tokens == 700:
        assert [len(set(batch)) for batch in lengths] == [1, 1]  # no padding


@pytest.mark.parametrize(("batch_tokens", "sizes"), [(1, [1, 1, 1]), (350, [2, 1]), (10**6, [3])])
def test_shared_audio_counts_once_for_all_rows(model, tokens, monkeypatch, batch_tokens, sizes):
    prefill = Spy(monkeypatch, model, "choice_logprobs")
    answer(model, tokens.repeat(10, 1), [system(Full())], batch_tokens=batch_tokens)
    assert [len(audio) for (audio, *_), _ in prefill.calls] == sizes
    assert all(tensor is audio[0] for (audio, *_), _ in prefill.calls for tensor in audio)


def test_systems_share_a_prefill_by_length(model, tokens, monkeypatch):
    prefill = Spy(monkeypatch, model, "choice_logprobs")
    systems = [system(RAP(), 0.5), system(Phase1(), 0.5), system(Full()), system(SpeechPrune(), 0.0)]
    systems.append(system(RAC(), 0.5, positions="original"))
    alone = answer(model, tokens, systems)
    assert len(prefill.calls) == len(systems)
    prefill.calls.clear()
    together = answer(model, tokens, systems, together=True)
    assert [len(audio) for (audio, *_), _ in prefill.calls] == [12, 3]  # positions are one way in a prefill
    audio = prefill.calls[0][0][0]
    assert [len(tensor) for tensor in audio] == [N] * 3 + [WINDOW] * 3 + [WINDOW // 2] * 6  # the longest first
    assert len({id(tensor) for tensor in audio}) == 1 + 3 + 1 + 3  # one tensor where questions read the same
    for folder, replies in alone.items():
        for one, other in zip(replies, together[folder], strict=True):
            assert torch.equal(one.indices, other.indices)
            assert other.logprobs == pytest.approx(one.logprobs, abs=1e-4)


def test_a_batch_of_many_systems_counts_its_padding():
    def reply(indices, end):
        return Reply({}, Prompt((1,) * 10, (2,) * end), indices=indices)

    shared, others = torch.arange(90), [torch.arange(n) for n in (40, 30)]
    replies = [reply(others[0], 5), reply(shared, 20), reply(others[1], 5), reply(shared, 10)]
    found = [[(r.start, r.end) for r in batch] for batch in batches(replies, 200)]
    assert found == [[(100, 20), (100, 10)], [(50, 5), (40, 5)]]  # a third would make 2 * 100 + 3 * 20
    assert [len(batch) for batch in batches(replies, 260)] == [3, 1]  # a fourth would make 3 * 100 + 4 * 20
    assert [len(batch) for batch in batches(replies, 380)] == [4]
    assert [len(batch) for batch in batches(replies, 39)] == [1, 1, 1, 1]


def test_the_caches_of_a_batch_are_bounded():
    indices = torch.arange(700)
    replies = [Reply({}, Prompt((1,) * 10, (2,) * 90), indices=indices) for _ in range(200)]
    assert [len(batch) for batch in batches(replies, 1000)] == [11] * 18 + [2]  # by the text that is read
    assert [len(batch) for batch in batches(replies, 10_000)] == [25] * 8  # 2 * 10,000 cached tokens, 800 a reply
    assert [len(batch) for batch in batches(replies[:30], 5000)] == [20, 10]  # CACHED, 16,384


def test_audio_behind_different_texts_is_not_shared():
    indices = torch.arange(100)
    replies = [Reply({}, Prompt((k,) * 50, (2,) * 10), indices=indices) for k in range(6)]
    assert [len(batch) for batch in batches(replies, 500)] == [3, 3]


def test_generated_replies(model, tokens, monkeypatch):
    generate, prefill = Spy(monkeypatch, model, "generate"), Spy(monkeypatch, model, "choice_logprobs")
    found = answer(model, tokens, [system(RAP(), 0.5, mode="generate"), system(Full())])
    assert [len(audio) for (audio, *_), _ in generate.calls] == [3]
    assert len(prefill.calls) == 1
    for reply in found["rap_0.5"]:
        expected = model.generate([tokens[reply.indices]], [reply.prompt], max_new_tokens=32)
        assert [reply.text] == expected
        assert reply.logprobs is None
        assert reply.error is None


def test_batches_do_not_change_answers(model, tokens):
    systems = [system(Original()), system(SpeechPrune(), 0.4), system(RAC(), 0.4, positions="original")]
    tables = [answer(model, tokens, systems, batch_tokens=size) for size in (1, 400, 10**6)]
    for table in tables[1:]:
        for folder, replies in tables[0].items():
            for one, other in zip(replies, table[folder], strict=True):
                assert torch.equal(one.indices, other.indices)
                assert np.argmax(one.logprobs) == np.argmax(other.logprobs)
                assert other.logprobs == pytest.approx(one.logprobs, abs=1e-4)


def test_other_systems_do_not_change_a_digit(model, tokens):
    systems = [system(RAP(), 0.2), system(SpeechPrune(), 0.2), system(SpeechPrune(), 0.6), system(Full())]
    together = answer(model, tokens, systems)
    for one in systems:
        alone = answer(model, tokens, [one])[one.folder]
        assert [reply.logprobs for reply in alone] == [reply.logprobs for reply in together[one.folder]]


# What is read


def test_answers_are_those_of_the_model_alone(model, tokens):
    for reply in answer(model, tokens, [system(Full())])["full"]:
        question = reply.question
        prompt = model.prompt(question["question"], question["choices"])
        expected = model.choice_logprobs([tokens], [prompt], len(question["choices"]))[0].tolist()
        assert reply.logprobs == pytest.approx(expected, abs=1e-4)
        assert len(reply.logprobs) == len(question["choices"])


@pytest.mark.parametrize("rate", [0.0, 0.4, 0.9])
def test_the_rate_is_the_share_of_the_window_removed(model, tokens, rate):
    for replies in answer(model, tokens, [system(p, rate) for p in (RAP(), RAC(), SpeechPrune())]).values():
        assert [len(reply.indices) for reply in replies] == [round(WINDOW * (1 - rate))] * 3
        assert all((reply.indices.diff() > 0).all() for reply in replies)
    original = answer(model, tokens, [system(Original())])["original"]
    assert [reply.indices.tolist() for reply in original] == [list(range(WINDOW))] * 3


def test_a_recording_below_the_budget_is_read_whole(model, tokens):
    systems = [system(p, 0.2) for p in (RAP(), RAC(), Phase1(), SpeechPrune())] + [system(Original())]
    for replies in answer(model, tokens[:7], systems).values():
        assert [reply.indices.tolist() for reply in replies] == [list(range(7))] * 3
        assert [reply.error for reply in replies] == [None] * 3


def test_random_pruners_are_seeded_by_recording_and_seed(model, tokens):
    def drawn(recording, seed):
        replies = Answerer(model, 10_000).answer(
            recording, tokens, questions(recording), [system(RAP(), 0.2, seed=seed)]
        )
        return next(replies)[1][0].indices.tolist()

    draws = [drawn("a", 0), drawn("a", 1), drawn("b", 0)]
    assert drawn("a", 0) == draws[0]
    assert len({tuple(draw) for draw in draws}) == 3


def test_the_query_is_the_question_with_or_without_choices(model, tokens, monkeypatch):
    texts = Spy(monkeypatch, model, "embed_text")
    systems = [system(Phase1(), 0.6, name=q, query=q) for q in ("question", "question+choices")]
    found = answer(model, tokens, systems)
    text, choices = questions(RECORDING)[0]["question"], "red blue green black"
    asked = [args[0] for args, _ in texts.calls if args[0].startswith(text)]
    assert asked[0] == text and asked[1] == f"{text} {choices}"  # then its beginnings, to know the choices
    for query, folder in (("question", "question_0.6"), ("question+choices", "question+choices_0.6")):
        for reply in found[folder]:
            q = reply.question
            T = model.embed_text(q["question"] if query == "question" else " ".join([q["question"], *q["choices"]]))
            assert reply.indices.tolist() == Phase1()(tokens, T, keep=16, window=WINDOW).tolist()
    assert found["question_0.6"][0].indices.tolist() != found["question+choices_0.6"][0].indices.tolist()


def test_original_positions_reach_the_model(model, tokens, monkeypatch):
    systems = [system(RAP(), 0.6, positions=p, name=p) for p in ("original", "reindexed")]
    prefill = Spy(monkeypatch, model, "choice_logprobs")
    found = answer(model, tokens, systems)
    (_, original), (_, reindexed) = prefill.calls
    assert reindexed == {}
    assert original["total"] == [N] * 3
    same = found["reindexed_0.6"][0].indices.tolist()
    assert [indices.tolist() for indices in original["positions"]] == [same] * 3
    assert found["original_0.6"][0].logprobs != found["reindexed_0.6"][0].logprobs


# Controls


def test_silence_replaces_every_token(model, tokens):
    window = model.project(model.encode(np.zeros(480_000, dtype=np.float32)))
    assert len(window) == 750
    for count in (N, 750 + N):
        heard = tokens.repeat(10, 1)[:count]
        for reply in answer(model, heard, [system(Full(), name="silence", audio="silence")])["silence"]:
            assert torch.equal(reply.heard, torch.cat([window, window])[:count])
            assert reply.indices.tolist() == list(range(count))


def test_silence_is_encoded_once(model, tokens, monkeypatch):
    encode = Spy(monkeypatch, model, "encode")
    answerer = Answerer(model, 10_000)
    silent = [system(Full(), name="s", audio="silence"), system(Original(), name="t", audio="silence")]
    for recording in "ab":
        list(answerer.answer(recording, tokens, questions(recording), silent))
    assert len(encode.calls) == 1


def test_no_evidence_leaves_out_the_evidence_and_its_neighbours(model, tokens):
    first, second, _ = answer(model, tokens, [system(Full(), name="cut", audio="no_evidence")])["cut"]
    # 0.4 to 1.0 s, widened to 0.2 to 1.2 s: the centres (k + 0.5) / 25 s of tokens 5 to 29 lie there.
    assert first.indices.tolist() == [*range(5), *range(30, N)]
    # 0.0 to 0.3 s, widened to 0.5 s: tokens 0 to 11.
    assert second.indices.tolist() == list(range(12, N))
    assert first.heard is second.heard is tokens


def test_no_facts_leaves_out_the_distractors_too(model, tokens):
    first, second, _ = questions("r")
    first = first | {"distractors": [{"start": 1.6, "duration": 0.2}]}  # widened to 1.4 to 2.0 s: tokens 35 to 49
    found = answer(model, tokens, [system(Full(), name="cut", audio="no_facts")], [first, second])["cut"]
    assert found[0].indices.tolist() == [*range(5), *range(30, 35), *range(50, N)]
    assert found[1].error == "the question has no distractors spans, which its control would leave out"


def test_no_evidence_prunes_what_is_left(model, tokens):
    pruners = [system(p, 0.4, audio="no_evidence") for p in (RAC(), Phase1(), SpeechPrune())]
    for replies in answer(model, tokens, [*pruners, system(Original(), audio="no_evidence")]).values():
        assert set(replies[0].indices.tolist()).isdisjoint(range(5, 30))
        assert set(replies[1].indices.tolist()).isdisjoint(range(12))
        assert len(replies[0].indices) in (24, WINDOW)
    assert replies[0].indices.tolist() == [*range(5), *range(30, 65)]  # Original


def test_evidence_by_token_centres():
    spans = [{"start": 0.1, "duration": 0.1}, {"start": 0.34, "duration": 0.02}, {"start": 0.5, "duration": 9.0}]
    # Centres: 0.02, 0.06, 0.10, 0.14, 0.18, 0.22, ... s; a span holds its start and not its end.
    assert spans_of(evidence_mask(spans, 14, 25.0)) == [2, 3, 4, 8, 12, 13]
    assert spans_of(evidence_mask(spans[1:2], 14, 25.0)) == [8]
    assert spans_of(evidence_mask([{"start": 0.35, "duration": 0.02}], 14, 25.0)) == []
    assert spans_of(evidence_mask(spans[1:2], 14, 25.0, margin=0.05)) == [7, 8, 9]


def test_padding_never_reaches_the_model(model, tokens, monkeypatch):
    """Rows of a batch may hold different numbers of tokens; PAD is index -1, the last token, if it slips through."""
    prefill = Spy(monkeypatch, model, "choice_logprobs")
    found = answer(model, tokens[:60], [system(RAP(), 0.0, audio="no_evidence")])["rap_0"]
    assert [len(reply.indices) for reply in found[:2]] == [35, 40]
    assert all(PAD not in reply.indices.tolist() for reply in found[:2])
    assert sorted(len(tensor) for (audio, *_), _ in prefill.calls for tensor in audio) == [35, 40]
