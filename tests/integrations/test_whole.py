"""``speechprune.inputs``: what the stock processor makes, and more where that cuts."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import soundfile
import torch
from helpers.speech import CHOICES, QUESTION, RATE, noise, stock_inputs
from test_pruned import KEEP, chosen, llm, replies, stock, texts  # noqa: F401

import speechprune
from speechprune.pruners import get_pruner


def test_short_audio_is_what_the_processor_makes(stock):  # noqa: F811
    expected, (text, _) = stock_inputs(stock, noise(2.3)), texts(stock)
    found = speechprune.inputs(*stock, text, noise(2.3))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_nothing_is_cut(llm, stock, tmp_path):  # noqa: F811
    """A long recording beside a short one, from a file: kept and answered as by the library itself."""
    soundfile.write(tmp_path / "long.wav", noise(31.3), RATE, subtype="FLOAT")
    inputs = speechprune.inputs(*stock, texts(stock), [tmp_path / "long.wav", noise(2.3, 1)])
    queries = [QUESTION, "Why so loud?"]
    parts = llm.encode(noise(31.3))
    assert (inputs["input_ids"] == llm.audio_id).sum(1).tolist() == [len(parts), 57]
    with warnings.catch_warnings(), speechprune.pruned(*stock, keep=KEEP, query=queries) as seen:
        warnings.simplefilter("error")
        ids = stock[0].generate(**inputs, max_new_tokens=6, do_sample=False)
    pruner = get_pruner("speechprune")
    tokens = llm.project(parts)
    index = pruner(
        tokens,
        llm.embed_text(QUESTION),
        keep=KEEP,
        frame_rate=llm.frame_rate,
        window=llm.window,
        first_layer=llm.first_layer,
    )
    short, heard = chosen(llm, noise(2.3, 1), queries[1], pruner)
    assert torch.equal(seen.kept[0], index) and torch.equal(seen.kept[1], short)
    prompts = [llm.prompt(query, CHOICES) for query in queries]
    assert replies(llm, inputs, ids) == llm.generate([tokens[index], heard], prompts, 6)


def test_arguments_are_checked(stock):  # noqa: F811
    with pytest.raises(ValueError, match="2 texts for 1 recordings"):
        speechprune.inputs(*stock, ["a", "b"], noise(1))
    with pytest.raises(ValueError, match=r"holds the audio placeholder '<\|AUDIO\|>' 0 times"):
        speechprune.inputs(*stock, "no place", noise(1))


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ([], "0 recordings; give one for each, and one at least"),
        (np.zeros(0, np.float32), "recording 0 is shorter than one audio token"),
        ([noise(1), noise(1)[:10]], "recording 1 is shorter than one audio token"),
        (np.full(RATE, np.nan), "window 0 holds NaN or infinite samples"),
        ((noise(1) * 32768).astype(np.int16), r"the samples are int16; expected floats in \[-1, 1\]"),
        ((noise(1), 44100.5), r"sampling rate 44100\.5; expected a whole number of Hz"),
        ((noise(1), 0), "sampling rate 0; expected"),
    ],
)
def test_samples_that_would_be_misheard_are_refused(stock, audio, message):  # noqa: F811
    text, _ = texts(stock)
    with pytest.raises(ValueError, match=message):
        speechprune.inputs(*stock, [text] * len(audio) if isinstance(audio, list) else text, audio)


def test_a_rate_may_be_a_float_that_is_whole(stock):  # noqa: F811
    text, _ = texts(stock)
    found = (speechprune.inputs(*stock, text, (noise(2), rate)) for rate in (2 * RATE, 2.0 * RATE))
    assert torch.equal(*(inputs["input_features"] for inputs in found))
