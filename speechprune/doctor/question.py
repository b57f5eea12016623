"""One question from the wave to the letter, to see that all of it runs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import soundfile

from speechprune.asking import SpeechLLM
from speechprune.doctor.findings import Finding
from speechprune.tts import get_engine

SPOKEN = "Good morning. Anna left her green bag on the train to Lincoln. It is at the station now."
QUESTION = "What colour is the bag of Anna?"
CHOICES = ("red", "blue", "green", "black")


def ask_once(load: Callable[[], SpeechLLM]) -> Finding:
    """Speak a sentence with espeak, load the model, ask. What fails is a finding, not an error."""
    engine = get_engine("espeak")
    spoken = engine.speak(SPOKEN, engine.voices()[0].name)
    start = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder:
            wav = Path(folder) / "question.wav"
            soundfile.write(wav, spoken.samples, spoken.sampling_rate)
            model = load()
            loaded = time.monotonic()
            answer = model.ask(wav, QUESTION, CHOICES, progress=False)
    except Exception as error:  # whatever a model, its files or a device can do
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Finding(
            "ask", "missing", f"one question failed: {reason:.200}", "speechprune --traceback ask .. tells more"
        )
    seconds = f"loaded in {loaded - start:.1f} s, answered in {time.monotonic() - loaded:.1f} s"
    right = "right" if answer.choice == "green" else "wrong: it runs, but heard the sentence badly"
    return Finding("ask", "ok", f"{answer.letter}. {answer.choice} ({right}); {seconds}")
