"""A transcript spoken: who may speak, and how loud."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from speechprune.alignment import Sentence
from speechprune.tts import TTSEngine, Utterance, Voice
from speechprune.tts.transcripts import Synthesis, levelled, resynthesise

SENTENCES = [
    Sentence("Good morning everyone, shall we begin?", "a", "F"),
    Sentence("Yes.", "b", "M"),
    Sentence("Then let us look at the budget of this year.", "a", "F"),
]


def test_only_the_voices_of_the_file_speak(tmp_path):
    file = tmp_path / "voices.txt"
    file.write_text("en-us+f5  # a woman\n\nen-us+m5\n")
    synthesis = Synthesis.read("espeak", file)
    _, said = synthesis.speak("talk", SENTENCES, tmp_path / "talk.wav")
    assert [said[k].custom["voice"] for k in range(3)] == ["en-us+f5", "en-us+m5", "en-us+f5"]
    file.write_text("en-us+nobody\n")
    with pytest.raises(ValueError, match=r"voices\.txt: no voice 'en-us\+nobody'"):
        Synthesis.read("espeak", file)
    file.write_text("en-us+f5\n")
    with pytest.raises(ValueError, match="speaker b: the engine has no voice of sex M"):
        Synthesis.read("espeak", file).speak("talk", SENTENCES, tmp_path / "talk.wav")


class Tones(TTSEngine):
    """A loud woman and a quiet man who hum for a second."""

    sampling_rate = 24_000

    def voices(self):
        return [Voice("loud", "F"), Voice("quiet", "M")]

    def speak(self, text, voice, rate=170, pitch=50):
        hum = np.sin(np.arange(24_000) / 24).astype(np.float32)
        return Utterance(hum * {"loud": 0.9, "quiet": 0.02}[voice], 24_000)


def test_every_sentence_has_the_level_asked_for(tmp_path):
    for level, wanted in ((None, [-5.9, -38.9, -5.9]), (-23.0, [-23.0] * 3)):
        _, said = resynthesise("talk", SENTENCES, Tones(), tmp_path / "talk.wav", level=level)
        samples, rate = soundfile.read(tmp_path / "talk.wav")
        assert rate == 16_000
        spans = [samples[round(s.start * rate) : round(s.end * rate)] for s in said.values()]
        assert [10 * np.log10(np.mean(span**2)) for span in spans] == pytest.approx(wanted, abs=0.1)


def test_levels_stop_at_full_scale_and_silence_stays():
    wave = np.array([0.0, 0.5, -0.1, 0.1], np.float32)
    rms = np.sqrt(np.mean(levelled(wave, -20.0) ** 2))
    assert rms == pytest.approx(0.1, rel=1e-5)
    assert np.abs(levelled(wave, 0.0)).max() == pytest.approx(1)
    assert (levelled(np.zeros(4, np.float32), -20.0) == 0).all()


def test_what_is_spoken_depends_on_voices_and_level_and_nothing_changes_without_them(tmp_path):
    """Sets that were spoken before there were these options are not spoken again."""
    (tmp_path / "voices.txt").write_text("en-us+f5\nen-us+m5\n")
    plain = Synthesis.read("espeak").identity
    assert plain == "espeak"
    others = [Synthesis.read("espeak", tmp_path / "voices.txt"), Synthesis.read("espeak", level=-20.0)]
    assert len({json.dumps(one.identity) for one in others} | {json.dumps(plain)}) == 3
    assert Synthesis.read(None) is None
    with pytest.raises(ValueError, match=r"--level -20\.0 belongs to --tts"):
        Synthesis.read(None, level=-20.0)
