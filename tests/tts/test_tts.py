"""Speech engines: what a corpus relies on."""

from __future__ import annotations

import numpy as np
import pytest

from speechprune.tts import get_engine

TEXT = "Well, Anna said that the bag of Peter is red."


@pytest.fixture(scope="module")
def espeak():
    return get_engine("espeak")


@pytest.mark.parametrize("voice", ["en-us+f2", "en-us+Reed"])  # the second one breathes: a Klatt voice
def test_same_text_same_samples_whatever_came_before(espeak, voice):
    first = espeak.speak(TEXT, voice, 160, 40)
    espeak.speak("Something else entirely, to move every oscillator.", "en-us+m3")
    again = espeak.speak(TEXT, voice, 160, 40)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert first.words == again.words


def test_a_second_instance_speaks_the_same(espeak):
    first = espeak.speak(TEXT, "en-us+f2")
    second = get_engine("espeak").speak(TEXT, "en-us+f2")
    np.testing.assert_array_equal(first.samples, second.samples)


def test_words_are_all_there_in_order_and_inside(espeak):
    said = espeak.speak(TEXT, "en-us+m1")
    assert [w.text for w in said.words] == TEXT.split()
    for before, after in zip(said.words, said.words[1:], strict=False):
        assert before.start < before.end <= after.start + 1e-9
    assert said.words[-1].end <= said.duration
    assert said.samples.dtype == np.float32
    assert 0.05 < np.abs(said.samples).max() <= 1


def test_word_times_match_the_sound(espeak):
    """Silence the middle word's span: what remains outside is untouched, and the span held most of its energy."""
    said = espeak.speak("one, two, three", "en-us+m1")
    power = said.samples.astype(np.float64) ** 2
    spoken = np.zeros(len(power), bool)
    for word in said.words:
        spoken[int(word.start * said.sampling_rate) : int(word.end * said.sampling_rate)] = True
    assert power[spoken].sum() > 0.95 * power.sum()
    assert spoken.mean() < 0.9  # the pauses at the commas belong to no word


def test_rate_and_pitch_are_heard(espeak):
    slow, fast = (espeak.speak(TEXT, "en-us+m1", rate).duration for rate in (120, 200))
    assert slow > 1.3 * fast
    low, high = (espeak.speak(TEXT, "en-us+m1", 170, pitch) for pitch in (20, 80))
    assert _pitch(high) > 1.2 * _pitch(low)


def _pitch(said) -> float:
    """Median pitch in Hz from the autocorrelation of 50 ms frames."""
    size, found = int(0.05 * said.sampling_rate), []
    for start in range(0, len(said.samples) - size, size):
        frame = said.samples[start : start + size]
        if np.abs(frame).max() > 0.1:
            correlation = np.correlate(frame, frame, "full")[size - 1 :]
            low, high = said.sampling_rate // 400, said.sampling_rate // 60
            found.append(said.sampling_rate / (low + int(correlation[low:high].argmax())))
    return float(np.median(found))


def test_voices_are_people_of_both_sexes(espeak):
    voices = espeak.voices()
    assert len(voices) > 40
    assert {v.gender for v in voices} == {"F", "M"}
    genders = {v.name: v.gender for v in voices}
    assert genders["en-us+f1"] == "F"
    assert genders["en-us+m1"] == "M"


def test_errors_name_the_voice_and_the_engine(espeak):
    with pytest.raises(ValueError, match=r"no voice 'en-us\+nobody'"):
        espeak.speak("hello", "en-us+nobody")
    with pytest.raises(ValueError, match="text is empty"):
        espeak.speak("  ", "en-us+f2")
    with pytest.raises(ValueError, match="unknown TTS engine 'festival'; choose from: endpoint, espeak, kokoro"):
        get_engine("festival")
