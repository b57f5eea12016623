"""Chains of pruners, and SpeechPrune, which is one, against steps taken by hand."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from test_pruner_equations import layer_of, tensor

from speechprune.bench.equality import LENGTHS, WINDOW, batch, first_layer, rows
from speechprune.pruners import RAC, RAP, Merged, Phase1, Phase2, PruneInputs, Pruner, SpeechPrune, Step, get_pruner
from speechprune.pruners.base import Chain


def by_hand(first: Pruner, second: Pruner, inputs: dict, size: int, keep: int) -> list[int]:
    """One recording: ``first`` down to ``size``, ``second`` over what is left, down to ``keep``."""
    left = first(**inputs, keep=size)
    index = second(**(inputs | {"S": inputs["S"][left]}), keep=keep)
    return left[index].tolist()


@pytest.mark.parametrize("keep", [1, 7, 12, WINDOW, 33, 100])
@pytest.mark.parametrize(("budget", "size"), [("window", WINDOW), (33, 33), (0.4, 12), (3, 3)])
def test_a_chain_is_its_steps(budget: str | int | float, size: int, keep: int) -> None:
    inputs = batch()
    kept = (RAC().to(budget) >> Phase1()).select(inputs, keep)
    for b, (S, T) in enumerate(rows()):
        given = {"S": S, "T": T, "frame_rate": 4.0, "window": WINDOW, "seed": inputs.seeds[b]}
        expected = by_hand(RAC(), Phase1(), given, max(size, keep), keep)
        assert kept[b][kept[b] >= 0].tolist() == expected
        assert len(expected) == min(keep, LENGTHS[b])


def test_speechprune_is_a_chain_to_the_last_index() -> None:
    """Equal to two calls by hand, and to ``>>`` and a configuration, where the two phases are quick and exact."""
    for seed in range(20):
        g = torch.Generator().manual_seed(seed)
        S, T, layer = tensor(g, "normal", 90, 16), tensor(g, "normal", 4, 16), layer_of(g, "normal", 16, (4, 2, 8))
        given = {"S": S, "T": T, "frame_rate": 5.0, "window": 40, "first_layer": layer}
        for keep in (1, 17, 40, 60):
            expected = by_hand(Phase1(), Phase2(), given, max(40, keep), keep)
            configured = get_pruner("chain", steps=[{"method": "phase1", "budget": "window"}, "phase2"])
            for pruner in (SpeechPrune(), Phase1() >> Phase2(), configured):
                assert pruner(**given, keep=keep).tolist() == expected


def test_budgets_share_the_first_step() -> None:
    class Counted(RAP):
        calls = 0

        def select_each(self, inputs, keeps):
            type(self).calls += 1
            assert len(set(keeps)) == len(keeps)
            return super().select_each(inputs, keeps)

    (Counted() >> Phase1()).select_each(batch(), [3, 7, 3, WINDOW, 45])
    assert Counted.calls == 1


def test_three_steps() -> None:
    chain = RAC().to(50) >> (RAP().to(30) >> Phase1())
    assert chain == Chain((Step(RAC(), 50), Step(RAP(), 30), Step(Phase1())))
    assert (
        RAC() >> RAP() >> Phase1()
        == RAC() >> (RAP() >> Phase1())
        == Chain((Step(RAC(), "window"), Step(RAP(), "window"), Step(Phase1())))
    )
    inner, outer = RAC().to(50) >> RAP(), batch()
    left = inner.select(outer, 30)
    index = Phase1().select(outer.at(left), 5)
    expected = torch.where(index < 0, index, left.gather(1, index.clamp_min(0)))
    assert torch.equal(chain.select(outer, 5), expected)


def test_what_a_chain_asks_for_is_what_its_steps_ask_for() -> None:
    chain = RAP() >> RAC()
    assert not chain.uses_query and not (chain.needs or chain.merges) and chain.has_budget
    chain = Phase1() >> SpeechPrune()
    assert chain.uses_query and chain.needs == ("first_layer",)
    with pytest.raises(ValueError, match="phase2 needs the LLM's first q/k projections"):
        chain.select(batch(first_layer=None), 5)


def test_survivors_keep_their_signals() -> None:
    index = torch.tensor([[3, 5], [0, -1], [0, -1], [1, 12]])
    signal = torch.arange(4 * 60).reshape(4, 60).double()
    left = batch(signals={"energy": signal}).at(index)
    assert left.lengths.tolist() == [2, 1, 1, 2]
    assert left.signals["energy"].tolist() == [[3, 5], [60, 60], [120, 120], [181, 192]]
    assert torch.equal(left.S[3], batch().S[3, [1, 12]])


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "chain: 0 steps; give two or more"),
        (["rap"], "chain: 1 steps; give two or more"),
        (["rap", "rac"], "chain: step 1, rap: no budget; every step but the last needs one, such as budget: window"),
        (
            [{"method": "rap", "budget": 5}, {"method": "rac", "budget": 3}],
            "chain: step 2, rac: budget 3; the last step",
        ),
        ([{"method": "rap", "budget": 0}, "rac"], "budget=0; expected 'window', a token count such as 1500, or a rate"),
        ([{"method": "rap", "budget": 1.0}, "rac"], "budget=1.0; expected 'window'"),
        ([{"method": "rap", "budget": True}, "rac"], "budget=True; expected 'window'"),
        ([{"method": "rap", "budget": "all"}, "rac"], "budget='all'; expected 'window'"),
        ([{"method": "full", "budget": 5}, "rac"], "budget=5, but full ignores it; give the step another method"),
        ([{"method": "phase1", "budget": 5, "frames": 2}, "rac"], "phase1: unknown option 'frames'; it has: frame_se"),
        ([{"method": "nonesuch", "budget": 5}, "rac"], "unknown pruner 'nonesuch'; choose from: "),
        ([{"budget": 5}, "rac"], "{'budget': 5} names no method; give a name, or a mapping such as {method: phase1}"),
        ([7, "rac"], "7 names no method"),
        ("rap", "chain: steps='rap'; expected a list of steps"),
    ],
)
def test_chains_that_cannot_be_meant(steps: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        get_pruner("chain", steps=steps)


def test_a_chain_without_steps_says_so() -> None:
    with pytest.raises(ValueError, match="chain: it needs the option 'steps'"):
        get_pruner("chain")


def test_selection_is_the_special_case_of_merging() -> None:
    inputs = batch()
    index = Phase1().select(inputs, 7)
    (merged,) = Phase1().merge_each(inputs, [7])
    assert torch.equal(merged.index, index)
    for b, n in enumerate(LENGTHS):
        kept = index[b][index[b] >= 0]
        assert (merged.into[b] >= 0).nonzero()[:, 0].tolist() == kept.tolist()
        assert merged.into[b, kept].tolist() == list(range(len(kept)))
        assert merged.weight[b].sum() == len(kept) == min(7, n)
        assert torch.equal(merged.tokens(inputs.S)[b, : len(kept)], inputs.S[b, kept])


def test_merged_tokens_are_the_weighted_sums() -> None:
    S = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    S[1, 3:] = torch.nan  # padding
    merged = Merged(
        torch.tensor([[1, 4], [0, -1]]),
        torch.tensor([[0, 0, -1, 1, 1], [0, -1, 0, -1, -1]]),
        torch.tensor([[0.25, 0.75, 0, 2, 1], [0.5, 0, 0.5, 0, 0]], dtype=torch.float64),
    )
    found = merged.tokens(S)
    assert found.dtype == S.dtype
    torch.testing.assert_close(found[0, 0], 0.25 * S[0, 0] + 0.75 * S[0, 1])
    torch.testing.assert_close(found[0, 1], 2 * S[0, 3] + S[0, 4])
    torch.testing.assert_close(found[1], torch.stack([(S[1, 0] + S[1, 2]) / 2, torch.zeros(3)]))


def test_a_layer_and_a_batch_of_one() -> None:
    S, T = rows()[0]
    inputs = PruneInputs.single(S, T, frame_rate=4.0, window=WINDOW, first_layer=first_layer())
    together = SpeechPrune().select(batch(), 7)[0]
    assert torch.equal((Phase1() >> Phase2()).select(dataclasses.replace(inputs), 7)[0], together)
