"""When sentences are said: the estimate against a synthesiser's own times, and CTC alignment of known emissions."""

from __future__ import annotations

import json
import random
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from speechprune.alignment import Sentence, get_aligner
from speechprune.alignment.ctc import CTCAligner, align_words
from speechprune.alignment.estimate import EstimatingAligner, speech_frames
from speechprune.tts import Voice, get_engine
from speechprune.tts.transcripts import cast, resynthesise

TALK = [
    Sentence("Good morning everybody, and welcome to this talk about the rivers of the north.", "a", "F"),
    Sentence("Thank you.", "b", "M"),
    Sentence("The gate was built in 1931, as far as we know today.", "a", "F"),
    Sentence("Is that so?", "b", "M"),
    Sentence("Yes, and the bridge that stands beside it is even older than the gate.", "a", "F"),
]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    wav = tmp_path_factory.mktemp("talk") / "talk.wav"
    _, said = resynthesise("talk", TALK, get_engine("espeak"), wav)
    return wav, list(said.values())


def test_the_estimate_is_near_the_truth(spoken):
    wav, truth = spoken
    timed = get_aligner(None).align(wav, [s.text for s in TALK])
    assert len(timed) == 5
    errors = [abs(t.start - s.start) for t, s in zip(timed, truth, strict=True)]
    errors += [abs(t.end - s.end) for t, s in zip(timed, truth, strict=True)]
    assert np.mean(errors) < 0.4
    assert max(errors) < 1.2
    assert all(t.start < t.end for t in timed)
    assert all(a.end <= b.start for a, b in pairwise(timed))


def test_speech_is_where_it_is_loud():
    rng = np.random.default_rng(0)
    samples = 0.001 * rng.standard_normal(48_000)
    samples[16_000:32_000] += 0.3 * rng.standard_normal(16_000)
    speech = speech_frames(samples.astype(np.float32))
    assert speech[100:200].all()
    assert not speech[:95].any()
    assert not speech[205:].any()
    assert speech_frames(np.zeros(16_000, np.float32)).any()


@pytest.mark.parametrize("seconds", [1.0, 3.2])
def test_a_recording_too_short_for_its_words(tmp_path, seconds):
    soundfile.write(tmp_path / "x.wav", np.random.default_rng(0).standard_normal(int(16_000 * seconds)) * 0.1, 16_000)
    with pytest.raises(ValueError, match=r"x\.wav: .* s long, expected at least 4\.\d s for the 4\d words"):
        EstimatingAligner().align(tmp_path / "x.wav", [s.text for s in TALK])


LETTERS = {"A": 1, "B": 2, "C": 3}


def emissions(path: str) -> torch.Tensor:
    """Frames that say ``path``, "-" the blank, with probability 0.9."""
    table = torch.full((len(path), 4), 0.1 / 3)
    for frame, letter in enumerate(path):
        table[frame, LETTERS.get(letter, 0)] = 0.9
    return table.log()


def test_words_are_where_their_letters_are():
    spans = align_words(emissions("--AAB---CC-A--"), ["ab,", "Ca!"], LETTERS, 0, 1.4)
    assert spans == [("ab,", 0.2, 0.5), ("Ca!", 0.8, 1.2)]


def test_a_word_without_letters_takes_what_is_between():
    spans = align_words(emissions("-A-BBBB-C-"), ["a", "92%", "c"], LETTERS, 0, 1.0)
    assert [word for word, _, _ in spans] == ["a", "92%", "c"]
    assert spans[0][1:] == (0.1, 0.2)
    assert spans[2][1:] == (0.8, 0.9)
    assert 0.2 <= spans[1][1] < spans[1][2] <= 0.8


def test_more_letters_than_frames():
    with pytest.raises(ValueError, match="2 frames for 4 letters"):
        align_words(emissions("AB"), ["ab", "ca"], LETTERS, 0, 0.1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A CTC model with random weights, 320 samples a frame."""
    folder = tmp_path_factory.mktemp("ctc")
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4}
    vocabulary |= {c: 5 + k for k, c in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    torch.manual_seed(0)
    model = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=len(vocabulary), pad_token_id=0, **sizes, **convolutions))
    model.save_pretrained(folder)
    return folder


def test_a_model_folder_aligns(tiny, spoken):
    wav, _ = spoken
    aligner = get_aligner(str(tiny), "cpu")
    assert isinstance(aligner, CTCAligner)
    assert aligner.method == f"forced alignment ({tiny})"
    timed = aligner.align(wav, [s.text for s in TALK])
    words = [word for t in timed for word in t.words]
    assert [word for word, _, _ in words] == " ".join(s.text for s in TALK).split()
    times = [time for _, start, end in words for time in (start, end)]
    assert times == sorted(times)
    assert times[-1] <= soundfile.info(wav).duration + 1e-3


def test_long_recordings_are_encoded_in_chunks(tiny):
    """As many frames as in one piece, whatever the length."""
    aligner = CTCAligner(str(tiny), "cpu")
    for seconds in (3.0, 20.05, 47.3):
        frames = len(aligner.emissions(np.zeros(int(16_000 * seconds), np.float32)))
        assert abs(frames - seconds * 50) < 4


def test_casting_is_sex_consistent_and_uses_every_voice_before_one_twice():
    voices = [Voice(f"f{k}", "F") for k in range(3)] + [Voice(f"m{k}", "M") for k in range(3)]
    genders = {"a": "F", "b": "M", "c": "F", "d": None, "e": None, "f": "F", "g": "F"}
    roles = cast(genders, voices, random.Random(0))  # noqa: S311
    assert all(roles[s].voice.gender == g for s, g in genders.items() if g)
    assert (roles["d"].voice.gender, roles["e"].voice.gender) == ("M", "M")
    assert len({roles[s].voice.name for s in "acf"}) == 3
    assert len({roles[s].voice.name for s in "bde"}) == 3
    with pytest.raises(ValueError, match="speaker a: the engine has no voice of sex F"):
        cast({"a": "F"}, voices[3:], random.Random(0))  # noqa: S311
