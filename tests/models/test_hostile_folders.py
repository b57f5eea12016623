"""Model folders that lack a part, or hold something else in its place: one sentence that names the folder."""

from __future__ import annotations

import copy as copies
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.speech import edit_json
from helpers.tiny_families import make_tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechprune import SpeechLLM
from speechprune.cli import main
from speechprune.costs.profiling import profile
from speechprune.models.folder import ModelFolder
from speechprune.models.loading import pick_device


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["tokenizer.json"], "a tokenizer (tokenizer.json or"),
        (["tokenizer_config.json"], "the tokenizer's configuration (tokenizer_config.json or"),
        (["chat_template.jinja"], "a chat template (chat_template.jinja or"),
        (["processor_config.json"], "the processor's configuration (processor_config.json or"),
        (["tokenizer.json", "chat_template.jinja"], "a tokenizer"),
    ],
)
def test_a_part_that_is_missing_is_named(copy, names, missing):
    for name in names:
        (copy / name).unlink()
    with pytest.raises(ValueError) as caught:
        SpeechLLM.from_pretrained(copy)
    assert str(caught.value).startswith(f"{copy}: {copy} lacks what qwen2_audio models need: {missing}")
    assert str(caught.value).endswith("copy the whole folder")


def test_the_mini_model_without_its_chat_template(tmp_path):
    """It answered, in other words than those that it was trained on."""
    folder = shutil.copytree(ModelFolder.open("mini").path, tmp_path / "mini")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="a chat template"):
        SpeechLLM.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", "lacks what qwen2_audio models need: a chat template"),
        ("<|audio_bos|><|AUDIO|><|audio_eos|>", "the chat template leaves the question out"),
    ],
)
def test_a_chat_template_that_asks_nothing(copy, template, message):
    (copy / "chat_template.jinja").write_text(template)
    with pytest.raises(ValueError, match=message):
        SpeechLLM.from_pretrained(copy, device="cpu")


def test_the_published_layout_needs_no_chat_template(copy):
    """Its template stands in the processor's code, its mel settings in a file of another name."""
    processor = json.loads((copy / "processor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps(processor["feature_extractor"]))
    (copy / "processor_config.json").unlink()
    (copy / "chat_template.jinja").unlink()
    assert SpeechLLM.from_pretrained(copy, device="cpu").prompt("?", ["a", "b"])


def test_a_chat_template_may_stand_in_the_tokenizer_config(copy):
    template = copy / "chat_template.jinja"
    edit_json(copy / "tokenizer_config.json", chat_template=template.read_text())
    template.unlink()
    assert SpeechLLM.from_pretrained(copy, device="cpu").prompt("?", ["a", "b"])


def test_other_families_need_theirs(tmp_path):
    folder = make_tiny("glmasr", tmp_path)
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ValueError, match="lacks what glmasr models need: the tokenizer's configuration"):
        SpeechLLM.from_pretrained(folder, device="cpu")


def test_sizes_are_compared_before_memory_is_taken(copy):
    """Without text_config the defaults are a 7B model's."""
    config = json.loads((copy / "config.json").read_text())
    del config["text_config"]
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        ValueError, match=r"describes a model of \d+,\d{3},\d{3},\d{3} weights, the files in .* hold \d\d,"
    ):
        SpeechLLM.from_pretrained(copy, device="cpu")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "[]", "config.json holds"),
        ("config.json", "null", "config.json holds None"),
        ("config.json", '{"model_type": []}', "has model_type [], expected a name"),
        ("tokenizer.json", "{}", "cannot load"),
        ("tokenizer.json", "", "models need: a tokenizer"),
        ("tokenizer_config.json", "[1]", "tokenizer_config.json holds [1]"),
        ("processor_config.json", "null", "processor_config.json holds None"),
        ("generation_config.json", "{", "generation_config.json is not JSON"),
        ("generation_config.json", '{"eos_token_id": "x"}', "has eos_token_id ['x']"),
        ("chat_template.jinja", "{% for %}", "cannot load the model"),
        ("chat_template.jinja", "{{ messages[0].content.nothing.at.all }}", "cannot load the model"),
        ("chat_template.jinja", "Hello", "cannot load the model"),
        ("model.safetensors", "x", "cannot load the weights"),
    ],
)
def test_a_part_that_is_something_else_is_named(copy, name, content, message):
    (copy / name).write_text(content)
    check(copy, message)


SIZES = [
    {"text_config": {"num_hidden_layers": 10**8}},
    {"text_config": {"hidden_size": -1}},
    {"text_config": {"vocab_size": 10**30}},
    {"text_config": {"num_attention_heads": 0}},
    {"text_config": 7},
    {"audio_config": {"encoder_layers": 10**8}},
    {"audio_config": {"d_model": "wide"}},
]


@pytest.mark.parametrize("change", SIZES, ids=str)
def test_impossible_sizes(copy, change):
    config = json.loads((copy / "config.json").read_text())
    ((part, sizes),) = change.items()
    edit_json(copy / "config.json", **{part: config[part] | sizes if isinstance(sizes, dict) else sizes})
    check(copy, "")
    with pytest.raises((ValueError, OSError)) as caught:
        profile(copy)
    assert str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**18) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PARTS = ["config.json", "tokenizer.json", "tokenizer_config.json", "processor_config.json", "generation_config.json"]
# Of the sizes that audio is cut and filtered by: a large one would only make the test slow.
SPARED = {"feature_size", "n_fft", "chunk_length", "hop_length"}


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(part=st.sampled_from(PARTS), value=JSON, data=st.data())
def test_any_shape_in_any_place(folder, tmp_path_factory, part, value, data):
    """A whole file, or one value somewhere in it: the model loads, or a sentence names the folder."""
    content = json.loads((folder / part).read_text())
    place = data.draw(st.sampled_from([(), *paths(content)]))
    broken = shutil.copytree(folder, tmp_path_factory.mktemp("broken") / "model")
    (broken / part).write_text(json.dumps(put(content, place, value)))
    try:
        SpeechLLM.from_pretrained(broken, device="cpu")
    except (ValueError, OSError) as error:
        assert str(broken) in str(error), repr(error)
        assert "\n" not in str(error)


def paths(value, start=()):
    items = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, inner in items:
        if key not in SPARED:
            yield (*start, key)
            yield from paths(inner, (*start, key))


def put(content, place, value):
    if not place:
        return value
    content = copies.deepcopy(content)
    holder = content
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    return content


def check(folder: Path, message: str) -> None:
    """The library raises a sentence, and the command line prints it and nothing else."""
    with pytest.raises((ValueError, OSError)) as caught:
        SpeechLLM.from_pretrained(folder, device="cpu")
    assert str(folder) in str(caught.value)
    assert message in str(caught.value)


# What is typed


@pytest.mark.parametrize("device", ["meta", "toaster", "cpu:x"])
def test_devices_that_cannot_compute(device):
    with pytest.raises(ValueError, match=f"unknown device '{device}'; choose from"):
        pick_device(device)


@pytest.mark.parametrize("word", ["a\0b.wav", "caf\udce9.wav"])
@pytest.mark.parametrize("place", ["wav", "question", "choice", "model"])
def test_words_that_are_no_text(word, place):
    words = {"wav": "talk.wav", "question": "Who?", "choice": "Anna", "model": "mini"} | {place: word}
    typed = [
        "ask",
        words["wav"],
        words["question"],
        "--choice",
        words["choice"],
        "--choice",
        "b",
        "--model",
        words["model"],
    ]
    result = CliRunner().invoke(main, typed)
    assert result.exit_code == 2
    assert f"{word!a} is not UTF-8 text" in result.output


def test_bytes_that_are_no_text_on_a_real_command_line(tmp_path):
    words = [sys.executable.encode(), b"-m", b"speechprune", b"validate", os.fsencode(tmp_path) + b"/caf\xe9"]
    result = subprocess.run(words, capture_output=True, text=True)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "is not UTF-8 text" in result.stderr


def test_an_error_of_the_system_is_named_by_its_file(tmp_path):
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(main, ["validate", str(tmp_path / "file" / "cuts.jsonl")])
    assert result.exit_code == 1
    assert "[Errno" not in result.output
    assert "Traceback" not in result.output
