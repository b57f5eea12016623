"""A benchmark of ten samples, from topics to the score table, and what lies in its folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner, Result
from helpers.raw_corpora import cuts_of, problems_of, snapshot
from helpers.tiny import make_tiny_qwen2_audio

from speechprune.cli import main
from speechprune.construction.checking import read_samples
from speechprune.construction.speaking import speak_samples
from speechprune.data.cuts import read_cuts, write_cuts
from speechprune.tts.transcripts import Synthesis

PUBLISHED = ("--name", "tiny_talks", "--sheet", 3, "--made-by", "speechprune speak --tts kokoro:/a/b/kokoro")


def run(*words) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def call(*words) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*words) -> str:
    result = run(*words)
    assert result.exit_code == 1, result.output
    return result.output


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Path:
    """Stages 0 to 5 without the measured quality."""
    build = tmp_path_factory.mktemp("build")
    call("plan", build, "--samples", 10, "--seconds", "20,24", "--splits", "test=0.8,dev=0.2")
    call("write", build, "--attempts", 20)
    call("check", build, "--seed", 1)
    call("speak", build)
    call(
        "publish",
        build,
        "--name",
        "tiny_talks",
        "--sheet",
        3,
        "--made-by",
        "speechprune speak --tts kokoro:/a/b/kokoro",
    )
    return build


@pytest.fixture(scope="module")
def decoded(build, tmp_path_factory) -> Path:
    """The same prepared as a corpus, and decoded by a tiny model."""
    top = tmp_path_factory.mktemp("decoded")
    model = make_tiny_qwen2_audio(top / "tiny")
    (top / "decode.yaml").write_text("systems: [original, full]\n")
    call("prepare", "benchmark", build / "tiny_talks", top / "data", "--sets", "test,dev,test_h")
    call("features", top / "data/test/cuts.jsonl.gz", top / "dump", "--model", model)
    call("decode", top / "dump", top / "exp", "--config", top / "decode.yaml", "--model", model)
    return top


def rows(build: Path, name: str = "data.jsonl") -> list[dict]:
    return [json.loads(line) for line in (build / "tiny_talks" / name).read_text().splitlines()]


def test_from_topics_to_the_score_table(decoded):
    call("score", decoded / "exp", "--cuts", decoded / "data/test/cuts.jsonl.gz")
    table = (decoded / "exp/RESULTS.md").read_text()
    assert json.loads((decoded / "exp/score.json").read_text())["corpus"] == "tiny_talks"
    assert "Constant letter" in table
    assert "resynthesised" not in table.lower()
    described = call("describe", decoded / "data/test/cuts.jsonl.gz")
    assert "answers     A 2, B 2, C 2, D 2\n" in described
    assert "corpus      tiny_talks 8\n" in described
    assert "Word overlap with the transcript: 25.00 %" in described


def test_times_are_those_of_the_synthesis(build, decoded):
    cuts = cuts_of(decoded / "data/test")
    spoken = {cut.id: cut for cut in read_cuts(build / "spoken", [])}
    samples = {sample.id: sample for sample in read_samples(build)}
    assert len(cuts) == 8 and len(cuts_of(decoded / "data/dev")) == 2
    for name, cut in cuts.items():
        same, sample = spoken[name.removeprefix("test-")], samples[name.removeprefix("test-")]
        (question,) = cut.custom["questions"]
        assert question["evidence_method"] == "synthesis (espeak)"
        assert question["evidence"] == same.custom["questions"][0]["evidence"]
        assert cut.supervisions[sample.key].text == sample.sentences[sample.key][1]
        assert cut.supervisions[sample.key].start == question["evidence"][0]["start"]
        assert [w.symbol for w in cut.supervisions[0].alignment["word"]] == cut.supervisions[0].text.split()
        assert {s.gender for s in cut.supervisions} == set(sample.speakers.values())
        voices = {s.speaker: s.custom["voice"] for s in same.supervisions}
        assert len(set(voices.values())) == len(sample.speakers)


def test_rows_are_spirals(build):
    for row in rows(build) + rows(build, "data_dev.jsonl"):
        name, combined = row["metadata"]["id"], row["audio_data"]["combined"]
        assert list(row) == ["transcript", "original_key_sentence", "test_question", "metadata", "audio_data"]
        assert combined["audio_files"] == [f"{name}.wav"]
        assert soundfile.info(build / "tiny_talks/wavs" / f"{name}.wav").samplerate == 16_000
        first, after = row["audio_data"]["key_sentences"]["indices"]
        assert combined["sentences"][first:after] == [row["original_key_sentence"]]
        assert row["test_question"]["correct_answer"] in row["test_question"]["choices"]
    topics = [{row["metadata"]["main_topic"] for row in rows(build, name)} for name in ("data.jsonl", "data_dev.jsonl")]
    assert not topics[0] & topics[1]


def test_the_card_and_the_sheet(build):
    card = (build / "tiny_talks/README.md").read_text()
    for words in (
        "| dialogues and questions (10) | templates of speechprune | Apache-2.0 |",
        "| speech | espeak | GPL-3.0-or-later (the program) |",
        "| test | 8 | 8 |",
        "speechprune speak --tts kokoro:kokoro\n",
        "| dev | Longest choice, ties shared |",
    ):
        assert words in card
    sheet = (build / "tiny_talks/sheet.html").read_text()
    assert sheet.count("<fieldset") == 3
    shown = [
        row for row in rows(build) + rows(build, "data_dev.jsonl") if f'data-id="{row["metadata"]["id"]}"' in sheet
    ]
    assert len(shown) == 3
    for row in shown:
        assert f'src="wavs/{row["metadata"]["id"]}.wav"' in sheet
        answer = row["test_question"]["correct_answer"].partition(". ")[2]
        assert f'<li class="right">{answer}</li>' in sheet.replace("&#39;", "'")


def test_the_hard_subset_is_what_original_got_wrong(build, decoded, tmp_path):
    folder = shutil.copytree(build / "tiny_talks", tmp_path / "tiny_talks")
    answers = {}
    for path in (decoded / "exp/original").glob("hyp.*.jsonl"):
        answers |= {row["id"]: row for row in map(json.loads, path.read_text().splitlines())}
    wrong = {name for name, row in answers.items() if row["prediction"] != row["answer"]}
    assert 0 < len(wrong) < 8
    cuts = decoded / "data/test/cuts.jsonl.gz"
    call("hard", cuts, decoded / "exp", tmp_path / "test_h", "--benchmark", folder)
    found = cuts_of(tmp_path / "test_h")
    assert {cut.custom["questions"][0]["id"] for cut in found.values()} == wrong
    assert all(cut.custom["hard"] is True for cut in found.values())
    call("prepare", "benchmark", folder, tmp_path / "data", "--sets", "test,test_h")
    assert set(cuts_of(tmp_path / "data/test_h")) == set(found)
    assert sum(cut.custom["hard"] for cut in cuts_of(tmp_path / "data/test").values()) == len(wrong)
    assert "no system 'rap'; choose from: original, full" in refused(
        "hard", cuts, decoded / "exp", tmp_path, "--system", "rap"
    )


def test_a_second_call_changes_nothing_and_a_smaller_one_leaves_nothing_behind(build, tmp_path):
    copy = shutil.copytree(build, tmp_path / "copy")
    call(
        "publish", copy, "--name", "tiny_talks", "--sheet", 3, "--made-by", "speechprune speak --tts kokoro:/a/b/kokoro"
    )
    assert snapshot(copy / "tiny_talks") == snapshot(build / "tiny_talks")
    (copy / "tiny_talks/data_h.jsonl").write_text("")
    few = [cut for cut in read_cuts(copy / "spoken", []) if cut.custom["split"] == "test"][:3]
    write_cuts(copy / "few.jsonl.gz", few)
    call("publish", copy, "--name", "tiny_talks", "--cuts", copy / "few.jsonl.gz")
    left = sorted(path.name for path in (copy / "tiny_talks").rglob("*") if path.is_file())
    assert left == sorted(
        [*(f"{cut.id}.wav" for cut in few), "README.md", "benchmark.json", "data.jsonl", "sheet.html"]
    )


@pytest.mark.parametrize("name", ["spiral", "SPIRAL", "a/b", "..", "spoken", "prompts"])
def test_names_that_are_taken_or_lead_elsewhere(build, name):
    before = snapshot(build)
    assert f"--name {name}" in refused("publish", build, "--name", name).replace("'", "")
    assert snapshot(build) == before


def test_a_folder_of_another_name_is_not_prepared_as_spiral(build, tmp_path):
    folder = shutil.copytree(build / "tiny_talks", tmp_path / "spiral")
    (folder / "benchmark.json").unlink()
    assert "a corpus of that name has a recipe already" in refused("prepare", "benchmark", folder, tmp_path / "data")


def test_other_recordings_are_aligned_and_bad_times_named(build, tmp_path):
    folder = shutil.copytree(build / "tiny_talks", tmp_path / "mine")
    found = rows(build)
    samples, rate = soundfile.read(folder / "wavs" / found[0]["audio_data"]["combined"]["audio_files"][0])
    soundfile.write(folder / "wavs" / f"{found[0]['metadata']['id']}.wav", samples[: -rate // 2], rate)
    found[1]["audio_data"]["combined"]["times"][0] = [3.0, 2.0]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    call("prepare", "benchmark", folder, tmp_path / "data")
    cuts = cuts_of(tmp_path / "data/test")
    assert len(cuts) == 7
    (question,) = cuts[f"test-{found[0]['metadata']['id']}"].custom["questions"]
    assert question["evidence_method"].startswith("estimate")
    assert "data.jsonl:2: " in problems_of(tmp_path / "data")
    assert "times 3.0 to 2.0 of a sentence" in problems_of(tmp_path / "data")


def test_an_engine_that_fails_costs_one_sample(build, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(build / "checked.jsonl", copy)
    third = read_samples(build)[2]
    speak = Synthesis.speak

    def failing(self, name, *args):
        if name == third.id:
            raise RuntimeError("the engine broke")
        return speak(self, name, *args)

    monkeypatch.setattr(Synthesis, "speak", failing)
    cuts = list(speak_samples(copy, Synthesis.read("espeak"), progress=False))
    assert {cut.id for cut in cuts} == {sample.id for sample in read_samples(build)} - {third.id}
    assert f"checked.jsonl:3: {third.id}: RuntimeError: the engine broke" in (copy / "spoken/problems.txt").read_text()
