"""Kokoro on a tiny ONNX graph with the export's inputs and outputs, through the real kokoro-onnx and onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from speechprune.alignment import Sentence
from speechprune.tts import get_engine
from speechprune.tts.kokoro import Kokoro
from speechprune.tts.transcripts import resynthesise

PER_TOKEN = 600  # samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """audio = 0.1 + style[0] at each of 600 samples a token, divided by speed: voices and speeds are told apart."""
    nodes = [
        helper.make_node("Shape", ["tokens"], ["shape"]),
        helper.make_node("Slice", ["shape", "one", "two"], ["length"]),
        helper.make_node("Cast", ["length"], ["length_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["length_float", "per_token"], ["samples"]),
        helper.make_node("Div", ["samples", "speed"], ["count_float"]),
        helper.make_node("Cast", ["count_float"], ["count"], to=TensorProto.INT64),
        helper.make_node("Slice", ["style", "zero", "one", "one"], ["first"]),
        helper.make_node("Reshape", ["first", "one"], ["level"]),
        helper.make_node("Expand", ["level", "count"], ["audio"]),
    ]
    constants = {"zero": [0], "one": [1], "two": [2]}
    initial = [helper.make_tensor(name, TensorProto.INT64, [1], value) for name, value in constants.items()]
    initial.append(helper.make_tensor("per_token", TensorProto.FLOAT, [1], [float(PER_TOKEN)]))
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, "sequence_length"]),
        helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, 256]),
        helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1]),
    ]
    output = helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["samples"])
    graph = helper.make_graph(nodes, "tiny", inputs, [output], initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("kokoro")
    onnx.save(model, str(path / "tiny.onnx"))
    levels = {"af_one": 0.3, "am_two": 0.5, "bf_three": 0.7, "jf_other": 0.9}
    voices = {name: np.full((510, 1, 256), level, np.float32) for name, level in levels.items()}
    np.savez(path / "voices.npz", **voices)
    return path


def test_voices_are_english_and_carry_their_sex(folder):
    assert [(v.name, v.gender) for v in Kokoro(str(folder)).voices()] == [
        ("af_one", "F"),
        ("am_two", "M"),
        ("bf_three", "F"),
    ]


def test_it_speaks_with_the_voice_and_the_rate_asked_for(folder):
    engine = Kokoro(str(folder))
    said = engine.speak("Nobody moved the budget review.", "am_two", rate=170)
    assert (said.sampling_rate, said.samples.dtype, said.words) == (24_000, np.float32, ())
    assert np.allclose(said.samples, 0.5)
    slow = engine.speak("Nobody moved the budget review.", "am_two", rate=85)
    assert abs(slow.duration - 2 * said.duration) < 0.01


def test_words_that_are_run_together_are_no_warning(folder, caplog):
    Kokoro(str(folder)).speak("Of the in a for the.", "am_two")
    assert "mismatch" not in caplog.text


def test_a_transcript_gets_sentence_times_and_no_guessed_words(folder, tmp_path):
    sentences = [Sentence("Good morning everyone.", "a", "F"), Sentence("Hello.", "b", "M")]
    engine = Kokoro(str(folder))
    recording, said = resynthesise("talk", sentences, engine, tmp_path / "talk.wav")
    assert [supervision.alignment for supervision in said.values()] == [None, None]
    durations = [engine.speak(s.text, said[k].custom["voice"], 170).duration for k, s in enumerate(sentences)]
    assert said[0].start == 0
    assert 0.8 * durations[0] < said[0].duration < 1.2 * durations[0]  # a role speaks at 150 to 190 words a minute
    assert said[0].end < said[1].start < said[1].end <= recording.duration


def test_weights_are_part_of_what_a_recording_depends_on_and_not_their_place(folder, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert Kokoro(str(folder)).identity == Kokoro(str(copy)).identity
    model = onnx.load(str(copy / "tiny.onnx"))
    model.doc_string = "other weights"
    onnx.save(model, str(copy / "tiny.onnx"))
    assert Kokoro(str(folder)).identity != Kokoro(str(copy)).identity
    assert Kokoro(str(folder)).identity.startswith("kokoro-")


def test_errors_name_what_is_missing(folder, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no English voice 'jf_other'; names look like af_heart"):
        Kokoro(str(folder)).speak("hello", "jf_other")
    with pytest.raises(ValueError, match="text is empty"):
        Kokoro(str(folder)).speak(" ", "af_one")
    with pytest.raises(FileNotFoundError, match=r"holds none; expected one \*\.onnx \(model\)"):
        Kokoro(str(tmp_path))
    with pytest.raises(ValueError, match="espeak has no weights to choose; give espeak"):
        get_engine("espeak:/somewhere")
    monkeypatch.setitem(__import__("sys").modules, "kokoro_onnx", None)
    with pytest.raises(ModuleNotFoundError, match="kokoro_onnx"):  # tests/test_extras.py: what the command says
        Kokoro(str(folder))


def test_without_a_folder_the_published_files_are_fetched_and_checked(monkeypatch, tmp_path, folder):
    asked = []

    def download_file(url, path, sha256):
        asked.append((url.rpartition("/")[2], len(sha256)))
        source = folder / ("tiny.onnx" if url.endswith(".onnx") else "voices.npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read_bytes())
        return path

    monkeypatch.setattr("speechprune.tts.kokoro.download_file", download_file)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert len(Kokoro().voices()) == 3
    assert asked == [("kokoro-v1.0.int8.onnx", 64), ("voices-v1.0.bin", 64)]
