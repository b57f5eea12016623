"""What is printed about a corpus is data beside its recipe, which nobody has to import."""

from __future__ import annotations

import runpy
import subprocess
import sys
from fnmatch import fnmatch

import pytest
from helpers.documents import document
from helpers.shells import ROOT

from speechprune.scoring import published
from speechprune.scoring.published import printed_model, set_title


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """Writes recipes/mine.yaml of another folder of recipes."""
    monkeypatch.setattr(published.resources, "files", lambda _: tmp_path)
    published._sets.cache_clear()
    yield lambda text: (tmp_path / "mine.yaml").write_text(text)
    published._sets.cache_clear()


def of(corpus: str | None, name: str, model: str = "mini") -> dict:
    return document(corpus=corpus, set=name, model=model)


def test_the_papers_figures():
    spiral = published.published("spiral", "test")
    assert spiral.accuracy["Qwen2-Audio"]["rac", 0.6] == "58.20"
    assert spiral.hard["Qwen2-Audio"]["rac", 0.6] == "35.41"
    assert spiral.accuracy["DiVA"]["speechprune", 0.15] == "57.51"
    assert spiral.hard == published.published("spiral", "test_h").accuracy
    assert published.published("cn_college_listen", "test_60s").accuracy["Qwen2-Audio"]["original", None] == "52.91"
    assert published.published("dream_tts", "test") is None  # the paper has the recordings longer than 60 s


def test_the_model_whose_figures_stand_beside_ours():
    models = {"mini": "Qwen2-Audio", "/x/Qwen2-Audio-7B": "Qwen2-Audio", "WillHeld/DiVA-llama-3-v0-8b": "DiVA"}
    assert {name: printed_model(of("spiral", "test", name)) for name in models} == models
    assert printed_model(of(None, "test")) is None


def test_names_of_sets():
    titles = {("spiral", "test"): "SPIRAL", ("dream_tts", "dev"): "dream_tts dev", (None, "spiral"): "spiral"}
    assert {key: set_title(of(*key)) for key in titles} == titles


def test_a_corpus_of_ones_own_may_have_figures(beside):
    beside("published: {source: a talk, sets: {dev: {title: Mine, accuracy: {Some-LM: {full: '9.50'}}}}}")
    assert published.published("mine", "dev").accuracy == {"Some-LM": {("full", None): "9.50"}}
    assert (set_title(of("mine", "dev")), printed_model(of("mine", "dev"))) == ("Mine", "Some-LM")


@pytest.mark.parametrize("text", ["words: [a]", "published:", "published: {}", "published: {sets: {other: {}}}"])
def test_a_file_without_figures_has_none(beside, text):
    beside(text)
    assert printed_model(of("mine", "dev")) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("published: [1]", "'published' is not as"),
        ("published: {sets: {dev: {hard: gone}}}", "'published' is not as .*gone"),
        ("published: {sets: {dev: {accuracy: {M: {full: 41.9}}}}}", "full: 41.9, expected the figure in quotes"),
        ("published: {sets: {dev: {accuracy: {M: {rap: {x: '1'}}}}}}", "'published' is not as"),
        ("- 1", "expected a mapping"),
    ],
)
def test_a_damaged_file_is_named(beside, text, message):
    beside(text)
    with pytest.raises(ValueError, match=rf"mine\.yaml.*{message}"):
        published.published("mine", "dev")


def test_no_recipe_and_no_torch_is_imported_for_it():
    code = (
        "import sys; from speechprune.scoring.published import published; assert published('spiral', 'test').accuracy"
    )
    code += "; loaded = {'torch', 'lhotse', 'speechprune.recipes.spiral'} & set(sys.modules); assert not loaded, loaded"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_wheel_holds_the_figures(monkeypatch):
    given = {}
    monkeypatch.setattr("setuptools.setup", lambda **options: given.update(options))
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    patterns = given["package_data"]["speechprune.recipes"]
    names = {path.name for path in (ROOT / "recipes").glob("*.yaml")}
    assert names >= {"spiral.yaml", "dream_tts.yaml", "cn_college_listen.yaml"}
    assert all(any(fnmatch(name, pattern) for pattern in patterns) for name in names)
