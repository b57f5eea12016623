"""A Whisper that has learnt three tones: what it hears, alone and among others, and folders that lack a part."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from helpers.tiny_whisper import sound

from speechprune.asr import Transcriber, WordErrors, word_errors


@pytest.fixture(scope="module")
def transcriber(folder):
    return Transcriber(folder, "cpu")


SAID = ["red blue green red blue", "green", "blue red"]


def test_every_window_of_a_long_recording_is_heard_once_and_in_order(transcriber):
    assert transcriber.transcribe([sound("red blue green red blue", 1.5)]) == ["red blue green red blue"]


def test_a_recording_is_heard_alone_as_it_is_among_others(transcriber):
    """Also where all of them are shorter than a window, and where only some are."""
    sounds = [sound(words, 1.5, seed) for seed, words in enumerate(SAID)]
    assert transcriber.transcribe(sounds) == SAID == [transcriber.transcribe([one])[0] for one in sounds]
    short = [sound("green", 1.5), sound("red", 4.0), sound("blue", 1.2)]
    assert transcriber.transcribe(short) == ["green", "red", "blue"]


def test_nothing_to_hear_is_an_error(transcriber):
    with pytest.raises(ValueError, match="nothing to transcribe"):
        transcriber.transcribe([np.zeros(0, np.float32)])


def test_a_whisper_of_many_languages_is_told_which_one(folder, tmp_path, monkeypatch):
    """And an English one is not: transformers refuses that."""
    several = tmp_path / "several"
    shutil.copytree(folder, several)
    file = several / "generation_config.json"
    maps = {"is_multilingual": True, "lang_to_id": {"<|en|>": 2}, "task_to_id": {"transcribe": 3}}
    file.write_text(json.dumps(json.loads(file.read_text()) | maps))
    given = []
    for place in (several, folder):
        made = Transcriber(place, "cpu")
        generate = made._model.generate
        monkeypatch.setattr(made._model, "generate", lambda g=generate, **o: (given.append(o), g(**o))[1])
        made.transcribe([sound("red", 2.0)])
    assert (given[0]["language"], given[0]["task"]) == ("en", "transcribe")
    assert not {"language", "task"} & given[1].keys()
    assert all(options["temperature"] == 0 for options in given)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("generation_config.json", r"lacks what whisper models need: the generation configuration \(generation_config"),
        ("tokenizer.json", "lacks what whisper models need: a tokenizer"),
        ("preprocessor_config.json", "lacks what whisper models need: the processor's configuration"),
        ("model.safetensors", "no safetensors weights"),
    ],
)
def test_a_folder_that_lacks_a_part_is_named(folder, tmp_path, part, message):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / part).unlink()
    with pytest.raises(ValueError, match=message):
        Transcriber(tmp_path / "copy", "cpu")


def test_other_models_and_half_configurations_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"mini: its model_type is .*, expected a Whisper"):
        Transcriber("mini", "cpu")
    with pytest.raises(FileNotFoundError, match="no model folder"):
        Transcriber(tmp_path / "nowhere", "cpu")
    shutil.copytree(folder, tmp_path / "copy")
    file = tmp_path / "copy" / "generation_config.json"
    settings = json.loads(file.read_text())
    del settings["no_timestamps_token_id"]
    file.write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="has no no_timestamps_token_id"):
        Transcriber(tmp_path / "copy", "cpu")


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors", "words"),
    [
        ("Mr. Smith said: twenty one!", "mister smith said 21", 0, 4),  # titles, numbers, punctuation
        ("The colour is, um, grey.", "the color is gray", 0, 4),  # British spelling, fillers
        ("the black cat sat", "the back cat", 2, 4),  # one word is wrong, one is missing
        ("hello", "hello hello hello", 2, 1),
        ("hello there", "", 2, 2),
        ("um", "hello", 1, 0),
    ],
)
def test_word_errors(reference, hypothesis, errors, words):
    assert word_errors(reference, hypothesis) == WordErrors(errors, words)


def test_the_rate_of_a_corpus_is_of_its_sums():
    counts = [WordErrors(1, 2), WordErrors(0, 8)]
    assert WordErrors.total(counts) == WordErrors(1, 10)
    assert WordErrors.total(counts).rate == 0.1
    assert WordErrors.total([]).rate is None
