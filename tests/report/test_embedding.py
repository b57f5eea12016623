"""The paper's Fig. 2: which question is drawn, what its panels mark as kept, files that are the same again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.decoding import config_of, make_dump, make_recordings, run, tiny_llm

from speechprune import SpeechLLM
from speechprune.features.dump import load_states, read_dump
from speechprune.report import embedding
from speechprune.report.embedding import Panel, Scene, choose_question, draw_embeddings, embed, embedding_figure


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Path, Path, SpeechLLM]:
    """(exp, dump, model) of one recording of 100 tokens, three questions, two of them with evidence."""
    folder = tmp_path_factory.mktemp("embedding")
    model = tiny_llm(folder / "model")
    dump = make_dump(folder, make_recordings(folder, (4.0,)), model)
    systems = ["original", "rap", "rac", "speechprune"]
    run(dump, folder / "exp", config_of(folder, rates=[0.2, 0.4, 0.8], systems=systems), model)
    return folder / "exp", dump, model


def row(system: str, name: str, right: bool, rate: float | None = 0.4, recall: float | None = 0.5, **changes) -> dict:
    found = {"system": system, "rate": rate, "id": name, "answer": "A", "prediction": "A" if right else "B"}
    return found | {"error": None, "evidence_recall": recall} | changes


def asked(name: str, original: bool, mine: bool, recall: float | None = 0.5, **changes) -> list[dict]:
    """The rows of one question."""
    return [
        row("original", name, original, None, recall, **changes),
        row("rap", name, False, recall=recall, **changes),
        row("speechprune", name, mine, recall=recall, **changes),
    ]


def chosen(rows: list[dict]) -> list[tuple]:
    return [(found["system"], found["rate"], found["id"]) for found in choose_question(rows)]


def test_the_question_is_the_first_that_speechprune_gains():
    rows = asked("q4", False, True) + asked("q3", False, True) + asked("q2", True, True)
    rows += asked("q1", False, True, recall=None) + asked("q0", False, True, error="no audio")
    assert chosen(rows) == [("rap", 0.4, "q3"), ("speechprune", 0.4, "q3")]
    assert chosen(asked("q2", True, True) + asked("q1", False, True, recall=None))[0][2] == "q2"  # with evidence
    assert chosen(asked("q2", True, True, recall=None) + asked("q1", False, False, recall=None))[0][2] == "q1"


def test_the_rate_is_the_middle_one_of_those_in_common():
    rows = [row("speechprune", "q0", True, rate) for rate in (0.2, 0.3, 0.6, 0.8)]
    rows += [row("rap", "q0", True, rate) for rate in (0.2, 0.6, 0.7, 0.8)]
    assert chosen(rows) == [("rap", 0.6, "q0"), ("speechprune", 0.6, "q0")]
    assert choose_question([*rows[:4], row("rap", "q0", True, 0.9)]) is None
    assert choose_question([row("rap", "q0", True), row("speechprune", "q1", True)]) is None


def test_of_rotated_choices_the_unrotated_row_counts():
    rows = asked("q0", False, True, rotation=0) + asked("q0", True, False, rotation=1)
    assert [found["rotation"] for found in choose_question(rows)] == [0, 0]


def test_the_panels_mark_what_each_system_kept(study):
    exp, dump, model = study
    scene = embedding.read_scene(exp, dump, model)
    assert [(panel.title, panel.rate) for panel in scene.panels] == [("RAP", 0.4), ("SpeechPrune", 0.4)]
    (cut,) = read_dump(dump, [])
    states = load_states(cut)
    question = next(q for q in cut.custom["questions"] if q["id"] == scene.question)
    span = question["evidence"][0]
    for panel in scene.panels:
        lines = (exp / f"{panel.title.lower()}_0.4" / "hyp.1.jsonl").read_text().splitlines()
        mine = next(found for found in map(json.loads, lines) if found["id"] == scene.question)
        assert (panel.kept.shape, panel.kept.sum()) == ((100,), mine["tokens"])
        recall = (panel.kept & scene.evidence).sum() / scene.evidence.sum()
        assert recall == pytest.approx(mine["evidence_recall"], abs=1e-6)
        assert panel.right == (mine["prediction"] == mine["answer"])
    assert (scene.panels[0].kept != scene.panels[1].kept).any()
    first, last = np.flatnonzero(scene.evidence)[[0, -1]] / model.frame_rate
    assert (first, last) == pytest.approx((span["start"], span["start"] + span["duration"]), abs=0.05)
    assert scene.audio.shape == (len(states), model.embed_text("a").shape[1])
    expected = model.embed_text(" ".join([question["question"], *question["choices"]]))  # as the systems were asked
    np.testing.assert_array_equal(scene.text, expected.numpy())


def test_the_axes_differ_in_marks_alone(study):
    scene = embedding.read_scene(*study)
    points = embed(scene)
    assert points.shape == (100 + len(scene.text), 2)
    figure = embedding_figure(scene, points)
    for axes, panel in zip(figure.axes, scene.panels, strict=True):
        marks = {c.get_label(): {tuple(xy) for xy in c.get_offsets().data.tolist()} for c in axes.collections}
        at = [tuple(map(float, xy)) for xy in points]
        kept = {at[i] for i in np.flatnonzero(panel.kept & ~scene.evidence)}
        assert marks["Kept"] == kept
        assert marks.get("Key sentence, kept", set()) == {at[i] for i in np.flatnonzero(panel.kept & scene.evidence)}
        assert marks["Query text"] == set(at[100:])
        assert set().union(*marks.values()) == set(at)
        assert f"keeps {panel.kept.sum()} of 100 tokens" in axes.get_title()


def test_long_recordings_are_thinned_evenly_and_the_figure_says_so(monkeypatch):
    monkeypatch.setattr(embedding, "MAX_TOKENS", 20)
    rng = np.random.default_rng(0)
    kept = np.zeros(1000, dtype=bool)
    kept[500:] = True
    audio, text = rng.standard_normal((1000, 8), np.float32), rng.standard_normal((3, 8), np.float32)
    scene = Scene("a$b$c", audio, text, np.zeros(1000, dtype=bool), [Panel("RAP", 0.4, kept, True)])
    assert len(scene.drawn) == 20
    assert (scene.drawn[0], scene.drawn[-1]) == (0, 999)
    assert set(np.diff(scene.drawn)) <= {52, 53}
    figure = embedding_figure(scene, np.arange(46.0).reshape(23, 2))
    (axes,) = figure.axes
    sizes = {c.get_label(): len(c.get_offsets()) for c in axes.collections}
    assert sizes == {"Pruned": 10, "Kept": 10, "Query text": 3}
    assert axes.get_title() == "RAP: right answer\nkeeps 500 of 1,000 tokens"
    assert figure.get_suptitle() == "a$b$c, pruning rate 0.4, 20 of 1,000 audio tokens drawn"
    figure.draw_without_rendering()  # "$" is no formula


def test_files_have_the_same_bytes_again(study, tmp_path):
    first, second = (draw_embeddings(*study, tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == ["embedding.png", "embedding.pdf"]
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert one.stat().st_size > 5000


def changed(exp: Path, to: Path, change) -> Path:
    """A copy of ``exp`` with ``change`` made to every row."""
    for path in exp.rglob("*"):
        if path.is_file():
            target = to / path.relative_to(exp)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text()
            if path.suffix == ".jsonl":
                rows = [change(json.loads(line)) for line in text.splitlines()]
                text = "".join(json.dumps(found) + "\n" for found in rows)
            target.write_text(text)
    return to


def test_rows_that_do_not_say_what_was_kept(study, tmp_path):
    exp, dump, model = study
    older = changed(exp, tmp_path / "exp", lambda found: {key: found[key] for key in found if key != "kept"})
    with pytest.raises(
        ValueError, match=r"rap_0\.4: the row of test-0000-q\d does not say which tokens.*rm -r .*stage 3"
    ):
        draw_embeddings(older, dump, model, tmp_path)
    assert not (tmp_path / "embedding.png").exists()


def test_a_dump_that_was_not_decoded(study, tmp_path):
    exp, dump, model = study
    other = changed(exp, tmp_path / "exp", lambda found: found | {"total_tokens": 99})
    with pytest.raises(ValueError, match="about 99 audio tokens, the dump has 100; give the dump that was decoded"):
        draw_embeddings(other, dump, model, tmp_path)
    other = changed(exp, tmp_path / "renamed", lambda found: found | {"recording": "test-0009"})
    with pytest.raises(ValueError, match=r"does not have the question test-0000-q\d"):
        draw_embeddings(other, dump, model, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no audio tokens in .*run stage 2"):
        draw_embeddings(exp, tmp_path / "none", model, tmp_path)
    assert not (tmp_path / "none").exists()


def test_another_model(study, tmp_path):
    exp, dump, _ = study
    with pytest.raises(ValueError, match="holds audio tokens of tiny"):
        draw_embeddings(exp, dump, tiny_llm(tmp_path / "model", seed=1), tmp_path)


def test_rows_of_another_model(study, tmp_path):
    exp, dump, model = study
    other = changed(exp, tmp_path / "exp", dict)
    path = other / "speechprune_0.4/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "0123"}))
    with pytest.raises(ValueError, match=r"holds rows of tiny \(0123\), not of tiny"):
        draw_embeddings(other, dump, model, tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"config\.json does not say how the system was asked .*stage 3"):
        draw_embeddings(other, dump, model, tmp_path)


def test_without_both_systems_nothing_is_drawn(study, tmp_path, caplog):
    exp, dump, model = study
    caplog.set_level("INFO")
    other = changed(exp, tmp_path / "exp", lambda found: found | {"error": "no audio"})
    assert draw_embeddings(other, dump, model, tmp_path) == []
    assert "embedding: nothing to draw" in caplog.text
