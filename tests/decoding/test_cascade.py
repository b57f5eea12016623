"""``method: transcript``: the LLM reads what is said, in the rows and tables of everything else."""

from __future__ import annotations

import json

import pytest
from helpers.decoding import RECORDING, config_of, make_dump, make_recordings, merged, questions, run
from lhotse import SupervisionSegment

from speechprune.decoding.cascade import Cascade, Transcripts
from speechprune.decoding.hypotheses import read_hypotheses
from speechprune.decoding.rows import row_problem
from speechprune.features.dump import read_dump
from speechprune.scoring.cascades import cascade_scores
from speechprune.scoring.stage import write_results

SENTENCES = ("Anna has a\nred bag.", "Ben came in first.")
BOTH = [{"method": "transcript", "source": source} for source in ("asr", "reference")]


@pytest.fixture(scope="module")
def dump(tmp_path_factory, model):
    """Two recordings with two sentences each, told out of order, and their transcripts."""
    folder = tmp_path_factory.mktemp("transcripts")
    cuts = make_recordings(folder, (4.0, 1.2))
    for cut in cuts:
        cut.supervisions = [
            SupervisionSegment(f"{cut.id}-s{k}", cut.id, 0.5 * k, 0.5, text=SENTENCES[k]) for k in (1, 0)
        ]
    made = make_dump(folder, cuts, model)
    write_lines(made / "transcripts.jsonl", [line(cut) for cut in read_dump(made, [])])
    return made


def line(cut, **changes) -> dict:
    about = {"recording": cut.id, "text": f"Anna has a  red bag in {cut.id}", "model": "whisper", "seconds": 0.5}
    return about | {"duration": cut.duration, "hash": cut.custom["audio_hash"], "errors": 2, "words": 8} | changes


def write_lines(path, lines) -> None:
    path.write_text("".join(f"{json.dumps(one)}\n" for one in lines))


@pytest.fixture(scope="module")
def exp(dump, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows") / "tiny" / "test"
    run(dump, folder, config_of(folder.parent.parent, systems=[*BOTH, "original"]), model)
    return folder


def test_rows_equal_the_model_asked_with_the_text(dump, exp, model):
    rows = merged(exp)
    said = {"asr": f"Anna has a red bag in {RECORDING}", "reference": "Anna has a red bag. Ben came in first."}
    for source, text in said.items():
        for question in questions(RECORDING):
            row = rows[f"transcript_{source}", None, question["id"]]
            prompt, count = model.with_text(model.prompt(question["question"], question["choices"]), text)
            nothing = model.first_layer.q_weight.new_zeros(0, model.embed_text("a").shape[1])
            expected = model.choice_logprobs([nothing], [prompt], len(question["choices"]))[0]
            assert row["error"] is None and row_problem(row) is None
            assert row["choice_logprobs"] == pytest.approx(expected.tolist(), abs=1e-4)
            assert (row["tokens"], row["total_tokens"]) == (count, 100)
            assert (row["kept"], row["evidence_recall"], row["evidence_precision"], row["rate"]) == (None,) * 4
            assert row["transcript"]["source"] == source
    about = rows["transcript_asr", None, f"{RECORDING}-q0"]["transcript"]
    assert {key: about[key] for key in ("model", "seconds", "errors", "words")} == {
        "model": "whisper", "seconds": 0.5, "errors": 2, "words": 8,
    }  # fmt: skip
    assert "transcript" not in rows["original", None, f"{RECORDING}-q0"]


@pytest.mark.parametrize("mode", ["cloze", "generate"])
def test_every_mode(dump, model, tmp_path, mode):
    config = config_of(tmp_path, systems=[BOTH[1]]).changed(mode=mode)
    (done,) = run(dump, tmp_path / "exp", config, model)
    assert (done.done, done.failed) == (6, 0)
    row = merged(tmp_path / "exp")["transcript_reference", None, f"{RECORDING}-q1"]
    assert len(row["choice_tokens"]) == 2 if mode == "cloze" else isinstance(row["reply"], str)


def test_the_transcript_is_read_once_for_all_questions(dump, model, tmp_path, monkeypatch):
    widths, read = [], model._read

    def spy(inputs, mask, places, cache):
        widths.append(tuple(inputs["inputs_embeds"].shape[:2]))
        return read(inputs, mask, places, cache)

    monkeypatch.setattr(model, "_read", spy)
    run(dump, tmp_path / "exp", config_of(tmp_path, systems=[BOTH[1]]), model)
    assert [rows for rows, _ in widths] == [1, 3, 1, 3]  # of each recording the text, then what is asked about it


def test_scores_say_who_wrote_it_down(exp):
    write_results(exp, "x", model="mini")
    document = json.loads((exp / "score.json").read_text())
    reference, asr = (next(c for c in document["cascades"] if c["source"] == s) for s in ("reference", "asr"))
    assert (asr["models"], asr["recordings"], asr["wer"], asr["seconds"]) == (["whisper"], 2, 0.25, 0.5)
    assert asr["rtf"] == pytest.approx(1.0 / 5.2, abs=1e-6)
    assert (reference["models"], reference["wer"], reference["seconds"]) == ([], None, None)
    page = (exp / "RESULTS.md").read_text()
    assert "| Cascade (ASR) | whisper | 2 | 25.00 | 0.5 | 0.192 |" in page
    assert "| Reference transcript | - | 2 | - | - | - |" in page
    (tokens,) = {s["tokens"] for s in document["systems"] if s["system"] == "transcript_reference"}
    cost = next(c for c in document["costs"] if c["system"] == "transcript_reference")
    assert cost["audio_tokens"] == round(tokens)
    assert cascade_scores([row for row in read_hypotheses(exp, []).rows if row["system"] == "original"]) == []


def test_lost_and_stale_transcripts_are_named(dump, model, tmp_path):
    one, other = read_dump(dump, [])
    path = tmp_path / "mine.jsonl"
    config = config_of(tmp_path, systems=[BOTH[0]], transcripts=str(path))
    with pytest.raises(FileNotFoundError, match=r"mine.jsonl: no transcripts, .* speechprune transcribe CUTS .*mine"):
        run(dump, tmp_path / "exp", config, model)
    cases = {
        "has no transcript of the recording; write them: speechprune transcribe CUTS": [line(one)],
        "is of other samples than were encoded; write them: speechprune transcribe": [line(one), line(other, hash="0")],
        "the recording was not transcribed: no memory": [line(one), line(other) | {"text": None, "error": "no memory"}],
    }
    for number, (message, lines) in enumerate(cases.items()):
        write_lines(path, lines)
        run(dump, folder := tmp_path / str(number), config, model)
        rows = merged(folder)
        assert all(rows["transcript_asr", None, f"{one.id}-q{k}"]["error"] is None for k in range(3))
        assert all(message in rows["transcript_asr", None, f"{other.id}-q{k}"]["error"] for k in range(3))
    for broken in ({"text": "a"}, line(one, text=3), line(one, seconds="long"), {"recording": one.id}):
        write_lines(path, [broken])
        with pytest.raises(ValueError, match=r"mine.jsonl: .*; write them: speechprune transcribe CUTS"):
            Transcripts(path, ["asr"])


def test_rows_about_another_transcript_are_refused(dump, model, tmp_path):
    path, cuts = tmp_path / "mine.jsonl", read_dump(dump, [])
    config = config_of(tmp_path, systems=[BOTH[0]], transcripts=str(path))
    write_lines(path, map(line, cuts))
    run(dump, tmp_path / "exp", config, model)
    (again,) = run(dump, tmp_path / "exp", config, model)
    assert (again.done, again.skipped) == (0, 6)
    write_lines(path, [line(cuts[0], text="Something else"), line(cuts[1])])
    with pytest.raises(ValueError, match=r"transcript_asr holds rows about another transcript of test-0000; remove"):
        run(dump, tmp_path / "exp", config, model)


def test_a_recording_without_text_has_error_rows(model, tmp_path):
    dump = make_dump(tmp_path, make_recordings(tmp_path, (1.2,)), model)
    run(dump, tmp_path / "exp", config_of(tmp_path, systems=[BOTH[1]]), model)
    for row in merged(tmp_path / "exp").values():
        assert row["error"] == "the recording's supervisions have no text, so there is no reference"
        assert row["transcript"] is None and row_problem(row) is None
    (cut,) = read_dump(dump, [])
    cut.supervisions = [SupervisionSegment("s", cut.id, 0.0, 1.0, text=3)]
    assert isinstance(Transcripts(dump, ["reference"]).of(cut)["reference"], str)


def test_a_transcript_longer_than_the_model_is_an_error(dump, model, tmp_path, monkeypatch):
    monkeypatch.setattr(model, "max_positions", 60)
    (done,) = run(dump, tmp_path / "exp", config_of(tmp_path, systems=[BOTH[1]]), model)
    assert done.failed > 0 and "but tiny reads 60" in done.first_error


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"method": "transcript"}, "transcript: source ''; choose from: asr, reference"),
        ({"method": "transcript", "source": "whisper"}, "source 'whisper'; choose from: asr, reference"),
        (BOTH[0] | {"model": "x"}, "unknown option 'model'; transcript has: source"),
        (BOTH[0] | {"audio": "silence"}, "transcript with audio 'silence'; it needs the recording"),
        (BOTH[0] | {"positions": "original"}, "positions 'original'; transcript drops nothing"),
        (BOTH[0] | {"rates": [0.2]}, "transcript has no rate"),
    ],
)
def test_what_is_refused(tmp_path, entry, message):
    with pytest.raises(ValueError, match=message):
        config_of(tmp_path, systems=[entry])


def test_positions_of_all_systems_are_not_a_transcripts(tmp_path):
    config = config_of(tmp_path, systems=[*BOTH, "original"], positions="original")
    assert [system.positions for system in config.systems] == ["reindexed", "reindexed", "original"]
    assert [system.title for system in config.systems] == ["Cascade (ASR)", "Reference transcript", "Original"]
    assert config.systems[0].describe()["method"] == "transcript"
    assert config.systems[0].describe()["options"] == {"source": "asr"}
    assert config.systems[0].pruner == Cascade("asr")
    with pytest.raises(ValueError, match="transcripts: 3, expected the path of a file"):
        config_of(tmp_path, systems=["original"], transcripts=3)
