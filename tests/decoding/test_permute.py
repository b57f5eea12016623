"""Stage 3 with rotated choices, and its controls that read the key or nothing: rows, resuming, what is heard."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.decoding import (
    CONFIG,
    WINDOW,
    config_of,
    lines_of,
    make_dump,
    make_recordings,
    merged,
    questions,
    run,
)

from speechprune.common.files import Shard
from speechprune.decoding.answering import Answerer
from speechprune.decoding.choosing import evidence_mask
from speechprune.decoding.hypotheses import read_hypotheses
from speechprune.decoding.oracle import Oracle
from speechprune.decoding.systems import System
from speechprune.pruners import Full
from speechprune.scoring.comparison import score

SYSTEMS = ["full", {"method": "speechprune", "rates": [0.4]}]


@pytest.fixture(scope="module")
def dump(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("dump")
    return make_dump(folder, make_recordings(folder, (4.0, 1.2)), model)


@pytest.fixture
def tokens(model):
    return model.project(torch.randn(100, 16, generator=torch.Generator().manual_seed(1)))


def test_every_rotation_is_asked_as_a_question_of_its_own(tmp_path, dump, model):
    (summary,) = run(dump, tmp_path / "exp", config_of(tmp_path, systems=SYSTEMS, permute="cyclic"), model)
    assert (summary.done, summary.failed) == (2 * 2 * (4 + 2 + 3), 0)
    rows = read_hypotheses(tmp_path / "exp", []).rows
    assert len(rows) == summary.done
    for question in questions("test-0000"):
        choices, size = question["choices"], len(question["choices"])
        mine = [row for row in rows if row["id"] == question["id"] and row["system"] == "full"]
        assert [row["rotation"] for row in mine] == list(range(size))
        # The right choice is found again where each rotation shows it.
        for row in mine:
            shown = choices[row["rotation"] :] + choices[: row["rotation"]]
            assert shown["ABCD".index(row["answer"])] == choices[question["answer"]]
            assert row["prediction"] == "ABCD"[row["choice_logprobs"].index(max(row["choice_logprobs"]))]
    states = run_alone(dump, model)
    prompt = model.prompt("Who spoke first, after all those people had come in and sat down?", ["Ben", "Anna"])
    expected = model.choice_logprobs([states], [prompt], 2)[0].tolist()
    found = next(r for r in rows if (r["id"], r["system"], r["rotation"]) == ("test-0000-q1", "full", 1))
    assert found["choice_logprobs"] == pytest.approx(expected, abs=1e-4)


def run_alone(dump, model) -> torch.Tensor:
    from speechprune.features.dump import load_states, read_dump

    cut = next(cut for cut in read_dump(dump, []) if cut.id == "test-0000")
    return model.project(torch.from_numpy(load_states(cut)))


def test_rotation_zero_answers_as_without_rotations(tmp_path, dump, model):
    plain, turned = tmp_path / "plain", tmp_path / "turned"
    run(dump, plain, config_of(tmp_path, systems=SYSTEMS), model)
    run(dump, turned, config_of(tmp_path, systems=SYSTEMS, permute="cyclic"), model)
    rows = {(r["system"], r["id"]): r for r in read_hypotheses(turned, []).rows if r["rotation"] == 0}
    for row in merged(plain).values():
        assert "rotation" not in row
        other = rows[row["system"], row["id"]]
        assert other["choice_logprobs"] == pytest.approx(row["choice_logprobs"], abs=1e-4)
        assert (other["answer"], other["tokens"]) == (row["answer"], row["tokens"])


def test_a_run_with_rotations_goes_on_where_it_was(tmp_path, dump, model):
    config = config_of(tmp_path, systems=SYSTEMS, permute="cyclic")
    run(dump, tmp_path / "whole", config, model)
    run(dump, tmp_path / "exp", config, model, jobs=2)
    path = next((tmp_path / "exp/full").glob("hyp.*.jsonl"))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    (summary,) = run(dump, tmp_path / "exp", config, model)
    assert summary.done == 9 - 3
    assert lines_of(tmp_path / "exp") == lines_of(tmp_path / "whole")
    assert run(dump, tmp_path / "exp", config, model)[0].done == 0


def test_rotated_and_plain_rows_never_share_a_folder(tmp_path, dump, model):
    plain = config_of(tmp_path, systems=["full"])
    run(dump, tmp_path / "exp", plain, model)
    before = (tmp_path / "exp/full/config.json").read_text()
    assert "permute" not in json.loads(before)
    with pytest.raises(ValueError, match=r"holds rows with permute 'none', this run has 'cyclic'; remove the folder"):
        run(dump, tmp_path / "exp", plain.changed(permute="cyclic"), model)
    run(dump, tmp_path / "other", plain.changed(permute="cyclic"), model)
    with pytest.raises(ValueError, match=r"holds rows with permute 'cyclic', this run has 'none'"):
        run(dump, tmp_path / "other", plain, model)
    assert (tmp_path / "exp/full/config.json").read_text() == before


def test_a_question_without_choices_has_one_row_that_says_so():
    system = System("full", Full(), None, permute="cyclic")
    assert system.turned([{"id": "x-q0", "choices": None, "answer": 0}])[0]["rotation"] == 0
    assert len(system.turned([{"id": "x-q0", "choices": ["a", "b"], "answer": 5}])) == 1


def test_the_config_of_one_system_may_ask_for_rotations(tmp_path):
    systems = config_of(tmp_path, systems=["full", {"method": "full", "name": "turned", "permute": "cyclic"}]).systems
    assert [system.permute for system in systems] == ["none", "cyclic"]
    assert Shard(1, 1).take(systems) == list(systems) or tuple(Shard(1, 1).take(systems)) == systems


# Oracle


def nearest(evidence: list[int], total: int, keep: int) -> list[int]:
    """The slow way: distance to the nearest evidence token, the earlier first."""
    return sorted(sorted(range(total), key=lambda i: (min(abs(i - e) for e in evidence), i))[:keep])


@pytest.mark.parametrize("evidence", [[0], [9], [4, 5, 6], [2, 3, 17, 18, 19], [0, 19], list(range(20))])
@pytest.mark.parametrize("keep", [1, 2, 5, 11, 20, 30])
def test_the_oracle_keeps_the_evidence_then_its_neighbours(evidence, keep):
    mask = torch.zeros(20, dtype=torch.bool)
    mask[evidence] = True
    assert Oracle().select(mask, keep).tolist() == nearest(evidence, 20, keep)


def test_the_oracle_needs_evidence():
    with pytest.raises(ValueError, match="no audio token lies in the question's evidence"):
        Oracle().select(torch.zeros(4, dtype=torch.bool), 2)
    with pytest.raises(ValueError, match="keep=0"):
        Oracle().select(torch.ones(4, dtype=torch.bool), 0)


def test_the_oracle_reads_what_it_chose_for_every_question(tmp_path, dump, model):
    config = config_of(tmp_path, systems=["oracle", "rap"], rates=[0.2, 0.6])
    run(dump, tmp_path / "exp", config, model)
    found = merged(tmp_path / "exp")
    for rate, keep in ((0.2, 32), (0.6, 16)):
        row = found["oracle", rate, "test-0000-q0"]
        mask = evidence_mask([{"start": 0.4, "duration": 0.6}], 100, model.frame_rate)
        size = int(mask.sum())
        assert row["tokens"] == keep
        assert row["evidence_recall"] == round(min(keep, size) / size, 6)
        assert row["evidence_precision"] == round(min(keep, size) / keep, 6)
        assert "no audio token lies in the question's evidence" in found["oracle", rate, "test-0000-q2"]["error"]
    systems = {(s.system, s.rate): s for s in score(list(found.values()))}
    assert systems["oracle", 0.2].errors == 2  # the third question of both recordings has no evidence
    assert systems["oracle", 0.2].evidence_recall >= systems["rap", 0.2].evidence_recall


# No audio


def test_without_audio_the_model_reads_the_text_alone(model, tokens):
    asked = questions("test-0000")
    system = System("no_audio", Full(), None, audio="none")
    ((_, replies),) = Answerer(model).answer("test-0000", tokens, asked, [system])
    for question, reply in zip(asked, replies, strict=True):
        prompt = model.prompt(question["question"], question["choices"])
        expected = model.choice_logprobs([tokens[:0]], [prompt], len(question["choices"]))[0]
        assert reply.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
        assert len(reply.indices) == 0


def test_rows_without_audio_know_no_evidence(tmp_path, dump, model):
    entry = {"name": "no_audio", "method": "full", "audio": "none"}
    run(dump, tmp_path / "exp", config_of(tmp_path, systems=[entry, "full"]), model)
    row = merged(tmp_path / "exp")["no_audio", None, "test-0000-q0"]
    assert (row["tokens"], row["evidence_recall"], row["evidence_precision"], row["error"]) == (0, None, None, None)
    row = merged(tmp_path / "exp")["full", None, "test-0000-q0"]
    assert (row["evidence_recall"], row["evidence_precision"]) == (1.0, 0.15)
    assert CONFIG["systems"] and WINDOW == 40  # what the numbers above rest on
