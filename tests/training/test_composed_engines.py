"""Two engines speak for one composition: one that is usual, and a tiny Kokoro."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.shells import ROOT
from helpers.tiny_kokoro import write_kokoro
from helpers.tiny_parts import write_llama, write_whisper

from speechprune.training.composed.config import AlignConfig, ComposeConfig, ReadConfig, SpeechConfig, TextConfig
from speechprune.training.composed.ensemble import Ensemble
from speechprune.training.composed.pair import load_llm, open_llm
from speechprune.training.composed.prompting import Prompter, with_audio_token
from speechprune.training.composed.read import Ears, Reader, evaluate
from speechprune.training.composed.speech import Studio
from speechprune.training.composed.train import Composer
from speechprune.training.settings import read_settings
from speechprune.tts import TTSEngine, Utterance, Word

SPEECH = SpeechConfig(max_wer=99.0, held_out=("m5", "am_two"), hours=0.02, dev_hours=0.01)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    write_whisper(folder / "tiny-whisper")
    write_llama(folder / "tiny-llama")
    (folder / "kokoro").mkdir()
    write_kokoro(folder / "kokoro")
    texts = [f"The {a} {b} stood near the house. Nobody had seen it before." for a in "abcde" for b in "fghijklmnop"]
    (folder / "text.txt").write_text("\n\n".join(texts))
    (folder / "voices.txt").write_text("en-us+m1\nen-us+m5\n")
    torch.set_num_threads(1)
    composer(folder, 0.03).run()
    return folder


def composer(folder, hours, out="out", more=()):
    others = {f"kokoro:{folder / 'kokoro'}": hours} | dict(more)
    config = ComposeConfig(
        text=TextConfig(llm_words=0, dialogues=0.5),
        speech=replace(SPEECH, others=others),
        align=AlignConfig(passes=0.3, points=(0.5, 1.0), batch=2, crop_seconds=2.0, sampled=40),
        read=ReadConfig(rank=2, steps=1, tokens=200, dev_tasks=2),
    )
    parts = (str(folder / "tiny-whisper"), str(folder / "tiny-llama"))
    return Composer(config, *parts, folder / out, [folder / "text.txt"], folder / "voices.txt", "cpu")


def test_each_engine_has_voices_to_train_on_and_others_to_hold_out(made):
    casts = json.loads((made / "out/voices.json").read_text())
    assert {name: (cast["train"], cast["held_out"]) for name, cast in casts.items()} == {
        "espeak": (["en-us+m1"], ["en-us+m5"]),
        "kokoro": (["af_one", "bf_three"], ["am_two"]),
    }


def test_all_speak_the_same_development_set_and_share_the_training(made):
    """Of the development set the same sentences and facts, for training others."""
    made_by = composer(made, 0.03)
    said = {
        name: [w[0] for w in made_by._rows(name)[0].words][:20]
        for name in ("dev", "dev-kokoro", "train", "train-kokoro")
    }
    assert said["dev"] == said["dev-kokoro"]
    assert said["train"] != said["train-kokoro"]
    assert made_by._ensemble.training == {"espeak": "train", "kokoro": "train-kokoro"}
    points = json.loads((made / "out/align/accuracy.json").read_text())
    seconds = sum(row.duration for name in ("train", "train-kokoro") for row in made_by._rows(name))
    assert points[1]["hours"] * 3600 == pytest.approx(seconds, abs=40)
    assert points[0]["hours"] == pytest.approx(points[1]["hours"] / 2, rel=0.1)


def test_each_is_measured_and_said_by_its_name(made):
    points = json.loads((made / "out/align/accuracy.json").read_text())
    assert [0 <= point["kokoro"] <= 1 for point in points] == [True, True]
    assert "| in pauses, % | in kokoro's speech, % |" in (made / "out/align/accuracy.md").read_text()
    reached = json.loads((made / "out/read.done").read_text())
    assert {"copy", "copy_of_text", "copy_of_kokoro", "question_of_kokoro"} <= reached.keys()
    card = (made / "out/delta/README.md").read_text()
    assert "- frame accuracy of kokoro: " in card
    assert "- voices held out: en-us+m5, am_two" in card
    assert str(made) not in card + (made / "out/delta/delta.json").read_text()
    espeak, kokoro = (
        sum(row.duration for row in composer(made, 0.03)._rows(name)) for name in ("train", "train-kokoro")
    )
    assert f"- engine: espeak ({espeak / 3600:.1f} h), kokoro ({kokoro / 3600:.1f} h)" in card


def test_an_engine_without_hours_speaks_with_all_its_voices_and_trains_nothing(made):
    made_by = composer(made, 0, "measured")
    made_by.run(["text"])
    casts = made_by._ensemble.casts
    assert casts["kokoro"].held_out == ("af_one", "am_two", "bf_three")
    assert [one.name for one in made_by._ensemble.sets()] == ["dev", "dev-kokoro", "train"]


class Metronome(TTSEngine):
    """Every word takes 0.3 s."""

    name = "metronome"
    sampling_rate = 16_000

    def voices(self):
        return []

    def speak(self, text, voice, rate=170, pitch=50):
        words = tuple(Word(word, 0.3 * k, 0.3 * k + 0.2) for k, word in enumerate(text.split()))
        return Utterance(np.zeros(4_800 * len(words), np.float32), self.sampling_rate, words)


def test_what_is_said_does_not_hang_on_how_many_voices_there_are():
    passages = [[f"Sentence {k} of many, which is about {k} things."] for k in range(50)]
    few, many = (
        Studio("dev", Metronome(), [f"v{k}" for k in range(count)], passages, TextConfig(dialogues=0.5), 3)
        for count in (2, 28)
    )
    for number in range(30):
        ours, theirs = few.record(number), many.record(number)
        assert (ours.words, ours.questions) == (theirs.words, theirs.questions)


def test_shipped_configurations_have_questions_on_their_development_sets():
    for path in (ROOT / "egs/compose/conf").glob("*.yaml"):
        config = read_settings(ComposeConfig, path)
        studio = Studio("dev", Metronome(), ["v"], [["One sentence."]], config.text, config.seed)
        spoken = [studio.record(number) for number in range(12)]
        assert sum(one.duration for one in spoken) / 3600 < config.speech.dev_hours * 1.2, path
        assert any(one.questions for one in spoken), path


def test_a_kind_that_nothing_is_asked_of_is_left_out(made):
    made_by = composer(made, 0.03)
    rows = [replace(row, questions=[]) for row in made_by._rows("dev")]
    llm, tokenizer = load_llm(open_llm(made / "tiny-llama"))
    upper = made_by._new_upper(llm.get_input_embeddings().weight.shape[1])
    reader = Reader(llm, Prompter(with_audio_token(tokenizer)), Ears(upper, made_by._store), 2)
    assert evaluate(reader, rows, 1, 0, "_of_kokoro").keys() == {
        "copy_of_kokoro",
        "cloze_of_kokoro",
        "far_cloze_of_kokoro",
    }


def test_what_does_not_fit_is_refused(made):
    with pytest.raises(ValueError, match=r"speech.settings.json: .* made with others_train {'kokoro-\w+-timed': True}"):
        composer(made, 0).run(["speech"])
    with pytest.raises(ValueError, match=r"metronome has no voices for 'train'; choose them anew \(stage 0\)"):
        Studio("train", Metronome(), [], [["One."]], TextConfig(), 0)
    with pytest.raises(
        ValueError, match=r"align.settings.json: .* made with others {'kokoro-\w+-timed': 0.03}, now it"
    ):
        composer(made, 0.05).run(["align"])
    with pytest.raises(ValueError, match=r"speech\.others: espeak, kokoro, kokoro; give each engine once"):
        _ = composer(made, 0.03, "twice", {"kokoro": 1.0})._ensemble.engines
    alone = Ensemble(SPEECH, made / "alone.json")
    alone.choose(made / "tiny-whisper", made / "voices.txt")
    both = Ensemble(replace(SPEECH, others={f"kokoro:{made / 'kokoro'}": 1.0}), made / "alone.json")
    with pytest.raises(ValueError, match=r"alone\.json: no voices of kokoro; choose them first \(stage 0\)"):
        _ = both.casts
