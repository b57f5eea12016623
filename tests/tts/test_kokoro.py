"""Kokoro on a tiny ONNX graph, through the real kokoro-onnx and onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from helpers.tiny_kokoro import PER_FRAME, TOKENS_PER_FRAME, write_kokoro
from kokoro_onnx.config import DEFAULT_VOCAB
from onnx import TensorProto, helper

from speechprune.alignment import Sentence
from speechprune.tts import get_engine
from speechprune.tts.durations import expose, word_times
from speechprune.tts.kokoro import Kokoro
from speechprune.tts.transcripts import resynthesise


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_kokoro(tmp_path_factory.mktemp("kokoro"))


@pytest.fixture(scope="module")
def untimed(tmp_path_factory):
    return write_kokoro(tmp_path_factory.mktemp("untimed"), timed=False)


def test_voices_are_english_and_carry_their_sex(folder):
    assert [(v.name, v.gender) for v in Kokoro(str(folder)).voices()] == [
        ("af_one", "F"),
        ("am_two", "M"),
        ("bf_three", "F"),
    ]


def test_it_speaks_with_the_voice_and_the_rate_asked_for(folder):
    engine = Kokoro(str(folder))
    said = engine.speak("Nobody moved the budget review.", "am_two", rate=170)
    assert (said.sampling_rate, said.samples.dtype) == (24_000, np.float32)
    assert np.allclose(said.samples, 0.5)
    slow = engine.speak("Nobody moved the budget review.", "am_two", rate=85)
    assert abs(slow.duration - 2 * said.duration) < 0.05 * slow.duration


def test_words_that_are_run_together_are_no_warning(folder, caplog):
    Kokoro(str(folder)).speak("Of the in a for the.", "am_two")
    assert "mismatch" not in caplog.text


def test_a_word_is_said_when_the_graphs_durations_say_so(folder):
    engine = Kokoro(str(folder))
    said = engine.speak("Nobody moved the budget.", "am_two")
    vocab, phonemes = DEFAULT_VOCAB, engine._kokoro.tokenizer.phonemize("Nobody moved the budget.", "en-us")
    frames = [1, *(max(1, round(vocab[symbol] / TOKENS_PER_FRAME)) for symbol in phonemes), 1]  # a pad on either side
    edges = np.cumsum(frames) * PER_FRAME / 24_000
    spans, at = [], 0
    for word in phonemes.rstrip(".").split(" "):
        spans.append((edges[at], edges[at + len(word)]))
        at += len(word) + 1
    assert [word.text for word in said.words] == ["Nobody", "moved", "the", "budget."]
    assert np.allclose([(word.start, word.end) for word in said.words], spans, atol=1e-3)


def test_sound_is_the_same_as_without_times_which_other_exports_lack(folder, untimed, tmp_path, monkeypatch):
    timed = Kokoro(str(folder)).speak("Of the people, for the people.", "bf_three")
    assert len(timed.words) == 6
    with monkeypatch.context() as patch:
        patch.setattr("speechprune.tts.kokoro.expose", lambda *_: False)
        plain = Kokoro(str(folder)).speak("Of the people, for the people.", "bf_three")
    assert plain.words == ()
    assert np.array_equal(timed.samples, plain.samples)
    assert Kokoro(str(untimed)).speak("Of the people.", "bf_three").words == ()
    assert not expose(untimed / "tiny.onnx", tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_half_precision_and_weights_in_a_file_of_their_own_are_taken(folder, tmp_path):
    graph = onnx.load(str(folder / "tiny.onnx"))
    (clip,) = (node for node in graph.graph.node if node.op_type == "Clip")
    whole = clip.output[0]
    clip.output[0] = "half"
    at = list(graph.graph.node).index(clip)
    for tensor in graph.graph.initializer:
        if tensor.name == "least":
            tensor.CopyFrom(helper.make_tensor("least", TensorProto.FLOAT16, [], [1.0]))
    before = helper.make_node("Cast", [clip.input[0]], ["rounded_half"], to=TensorProto.FLOAT16)
    graph.graph.node.insert(at + 1, helper.make_node("Cast", ["half"], [whole], to=TensorProto.FLOAT))
    rounding = next(node for node in graph.graph.node if node.op_type == "Round")
    rounding.input[0], before.input[0], before.output[0] = "frames_half", rounding.input[0], "frames_half"
    graph.graph.node.insert(list(graph.graph.node).index(rounding), before)
    table = np.zeros(4096, np.float32)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(table, "unused"))
    onnx.save(graph, str(tmp_path / "tiny.onnx"), save_as_external_data=True, location="tiny.onnx.data")
    (tmp_path / "voices.npz").write_bytes((folder / "voices.npz").read_bytes())
    assert (tmp_path / "tiny.onnx.data").stat().st_size
    halves, wholes = (Kokoro(str(path)).speak("Nobody moved the budget.", "am_two") for path in (tmp_path, folder))
    assert halves.words == wholes.words


@pytest.mark.parametrize(
    ("written", "alone", "spoken", "spans"),
    [
        ("for the sake", ["fɔɹ", "ðə", "seɛk"], "fɚðə seɛk", [(0, 2), (2, 4), (5, 9)]),  # two run together
        ("for a sake", ["fɔɹ", "eɛ", "seɛk"], "fɚɹə seɛk", [(0, 3), (3, 4), (5, 9)]),
        ("said 25 things", ["sɛd", "twɛnti faɛv", "θɛŋz"], "sɛd twɛnti faɛv θɛŋz", [(0, 3), (4, 15), (16, 20)]),
        ("well - yes.", ["wɛl", "", "jɛs."], "wɛl jɛs.", [(0, 3), (3, 3), (4, 7)]),  # of a dash nothing is heard
        ("- yes", ["", "jɛs"], "jɛs", [(0, 0), (0, 3)]),
    ],
)
def test_words_are_found_among_the_phonemes_of_a_sentence(written, alone, spoken, spans):
    words = written.split()
    phonemes = [(symbol, float(k), float(k + 1)) for k, symbol in enumerate(spoken)]
    found = word_times(words, phonemes, dict(zip(words, alone, strict=True)).__getitem__)
    assert [word.text for word in found] == words
    assert [(word.start, word.end) for word in found] == spans


def test_a_transcript_gets_times_of_words_or_of_sentences_and_no_guessed_ones(folder, untimed, tmp_path):
    sentences = [Sentence("Good morning everyone.", "a", "F"), Sentence("Hello.", "b", "M")]
    _, said = resynthesise("talk", sentences, Kokoro(str(folder)), tmp_path / "talk.wav")
    assert [len(supervision.alignment["word"]) for supervision in said.values()] == [3, 1]
    engine = Kokoro(str(untimed))
    recording, said = resynthesise("talk", sentences, engine, tmp_path / "untimed.wav")
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
