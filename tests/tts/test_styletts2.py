"""Voices chosen from a LibriTTS, and StyleTTS 2's interpreter with a package of that name that hums."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechprune.alignment import Sentence
from speechprune.tts.libritts import choose_references, read_speakers
from speechprune.tts.styletts2 import StyleTTS2
from speechprune.tts.transcripts import resynthesise

SPEAKERS = """;ID |SEX| SUBSET           |MINUTES| NAME
19   | F | train-clean-100  | 25.19 | Kara Shallenberg
26   | M | train-clean-100  | 25.08 | Denny Sayers
27   | M | train-clean-100  | 20.13 | Sean McKinley
32   | F | train-clean-100  | 24.01 | Betsie Bush
40   | F | train-clean-100  | 25.08 | Vicki Barbour
14   | F | train-clean-360  | 25.03 | Kristin LeMoine
"""
# Takes the seed's first draw as the pitch, so that seeds are heard; dies and fails when it is told.
PACKAGE = """
import os, sys
import numpy as np
import soundfile

print("loading the model")


class StyleTTS2:
    def inference(self, text, target_voice_path, output_wav_file, diffusion_steps, embedding_scale):
        print("speaking", text)
        if text == "die":
            os._exit(7)
        if text == "fail":
            raise RuntimeError("no breath")
        assert soundfile.info(target_voice_path).frames
        hum = np.sin(np.arange(24_000 * 1) * np.random.random()) * 0.1 * diffusion_steps * embedding_scale
        soundfile.write(output_wav_file, hum, 24_000)
"""


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Two women and two men with a recording of suitable length; speaker 40 has none."""
    root = tmp_path / "LibriTTS"
    for speaker, lengths in {"19": (1, 6), "26": (5, 30), "27": (7,), "32": (4.5,), "40": (2,), "14": (6,)}.items():
        for k, seconds in enumerate(lengths):
            subset = "train-clean-360" if speaker == "14" else "train-clean-100"
            wav = root / subset / speaker / "123" / f"{speaker}_123_{k}.wav"
            wav.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(wav, np.zeros(int(1000 * seconds)), 1000)
    (root / "SPEAKERS.txt").write_text(SPEAKERS)
    return root


def test_as_many_women_as_men_with_a_recording_of_suitable_length(corpus):
    chosen = choose_references(corpus, 4)
    assert [(r.voice.name, r.voice.gender, r.wav.name) for r in chosen] == [
        ("libritts_19", "F", "19_123_1.wav"),
        ("libritts_26", "M", "26_123_0.wav"),
        ("libritts_27", "M", "27_123_0.wav"),
        ("libritts_32", "F", "32_123_0.wav"),
    ]
    assert choose_references(corpus, 4) == chosen
    drawn = {tuple(r.voice.name for r in choose_references(corpus, 2, seed)) for seed in range(8)}
    assert len(drawn) > 1
    assert all({name for name in names} & {"libritts_26", "libritts_27"} for names in drawn)


def test_what_is_missing_or_odd_is_named(corpus, tmp_path):
    with pytest.raises(ValueError, match=r"2 speakers of sex F with a recording of 4 to 12 s, 3 are wanted"):
        choose_references(corpus, 5)
    with pytest.raises(FileNotFoundError, match=r"SPEAKERS\.txt; give the folder of LibriTTS"):
        choose_references(tmp_path, 2)
    (corpus / "SPEAKERS.txt").write_text("; a\n19 | woman | train-clean-100\n")
    with pytest.raises(ValueError, match=r"SPEAKERS\.txt:2: 19 \| woman"):
        read_speakers(corpus / "SPEAKERS.txt")


@pytest.fixture
def settings(corpus, tmp_path, monkeypatch) -> Path:
    package = tmp_path / "site" / "styletts2"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "tts.py").write_text(PACKAGE)
    (package.parent / "torch.py").write_text("def manual_seed(seed): pass\n")  # the real one takes seconds
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    path = tmp_path / "styletts2.yaml"
    path.write_text(json.dumps({"python": sys.executable, "libritts": str(corpus), "speakers": 4}))
    return path


def test_it_speaks_in_its_own_interpreter_the_same_whatever_came_before(settings, tmp_path):
    engine = StyleTTS2(str(settings))
    assert [voice.gender for voice in engine.voices()] == ["F", "M", "M", "F"]
    first = engine.speak("Good morning.", "libritts_19")
    assert (first.sampling_rate, first.duration, first.words) == (24_000, 1.0, ())
    assert np.abs(first.samples).max() == pytest.approx(0.5, abs=0.01)  # 5 steps, scale 1
    other = engine.speak("Hello.", "libritts_26")
    assert not np.array_equal(first.samples, other.samples)
    np.testing.assert_array_equal(engine.speak("Good morning.", "libritts_19").samples, first.samples)
    with pytest.raises(ValueError, match="styletts2: RuntimeError: no breath"):
        engine.speak("fail", "libritts_19")
    sentences = [Sentence("Good morning.", "a", "F"), Sentence("Hello.", "b", "M")]
    recording, _ = resynthesise("talk", sentences, engine, tmp_path / "talk.wav")
    assert recording.sampling_rate == 16_000
    with pytest.raises(OSError, match=r"interpreter ended \(exit status 7\)"):
        engine.speak("die", "libritts_19")
    np.testing.assert_array_equal(engine.speak("Good morning.", "libritts_19").samples, first.samples)


def test_steps_and_scale_are_part_of_what_a_recording_depends_on(settings):
    before = StyleTTS2(str(settings)).identity
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"diffusion_steps": 10}))
    assert StyleTTS2(str(settings)).identity != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"voices": 3}, "unknown key voices; choose from: python, libritts, speakers"),
        ({"speakers": "many"}, "speakers is many"),
        ({"python": "/nowhere/python"}, "where there is no file"),
        ({"libritts": None}, "libritts is None"),
    ],
)
def test_settings_that_are_wrong_are_named(settings, changes, message):
    settings.write_text(json.dumps(json.loads(settings.read_text()) | changes))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        StyleTTS2(str(settings))
