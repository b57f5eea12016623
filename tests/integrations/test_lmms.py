"""Tasks for lmms-eval, and the model that answers them; its own runner asks the questions where the extra is there."""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner
from helpers.decoding import make_recordings
from helpers.shells import ENVIRONMENT, ROOT
from helpers.tiny import make_tiny_qwen2_audio

from speechprune.audio import load_audio
from speechprune.cli import main
from speechprune.data.cuts import write_cuts
from speechprune.integrations import lmms_tasks
from speechprune.pruners import PruneInputs, get_pruner

NEEDED = "needs the extra lmms-eval: some 70 packages that move the pins of others, in an environment of its own"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """data/test with two recordings of three questions, and the tasks made of them."""
    top = tmp_path_factory.mktemp("lmms")
    (top / "wav").mkdir()
    cuts = make_recordings(top / "wav", (4.0, 3.0))
    cuts[0].custom["corpus"] = "talks"
    cuts[1].custom["questions"][0]["answer"] = 9
    write_cuts(top / "test" / "cuts.jsonl.gz", cuts)
    done = CliRunner().invoke(main, ["lmms-tasks", str(top / "test"), str(top / "tasks")])
    assert (done.exit_code, done.output.split()[-4:-2]) == (0, ["--tasks", "talks_test"])
    return top


def rows(folder):
    return [json.loads(line) for line in (folder / "tasks" / "talks_test.jsonl").read_text().splitlines()]


def test_a_task_is_questions_and_functions(folder):
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("!function", lambda made, node: named(made.construct_scalar(node)))
    task = yaml.load((folder / "tasks" / "talks_test.yaml").read_text(), loader)  # noqa: S506 (a safe loader's child)
    assert (task["task"], task["output_type"], task["test_split"]) == ("talks_test", "generate_until", "test")
    assert task["dataset_kwargs"] == {"data_files": {"test": str(folder / "tasks" / "talks_test.jsonl")}}
    found = rows(folder)
    assert [row["id"] for row in found] == ["test-0000-q0", "test-0000-q1", "test-0000-q2"]  # the other cut is broken
    (audio,) = task["doc_to_visual"](found[0])
    assert (audio["sampling_rate"], len(audio["array"])) == (16000, 64000)
    text = "Who spoke first, after all those people had come in and sat down?\nA. Anna\nB. Ben\nAnswer with the letter."
    assert (task["doc_to_text"](found[1]), task["doc_to_target"](found[1])) == (text, "Ben")
    for reply, expected in {"B": (1, 1), "The answer is A.": (0, 1), "Anna or Ben": (0, 0)}.items():
        values = task["process_results"](found[1], [reply])
        assert tuple(values.values()) == expected
        assert values.keys() == {metric["metric"] for metric in task["metric_list"]}


def named(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_nothing_to_ask(folder, tmp_path):
    (cut,) = make_recordings(tmp_path, (1.0,))
    cut.custom["questions"] = []
    write_cuts(tmp_path / "cuts.jsonl", [cut])
    with pytest.raises(ValueError, match=r"cuts\.jsonl: no question with choices in any cut"):
        lmms_tasks.write_tasks(tmp_path / "cuts.jsonl", tmp_path / "out", [])


def test_questions_without_choices_are_named_and_left_out(tmp_path):
    (cut,) = make_recordings(tmp_path, (1.0,))
    cut.custom["questions"][1] = {"id": f"{cut.id}-q1", "question": "Who?", "answers": ["Anna"]}
    write_cuts(tmp_path / "test" / "cuts.jsonl", [cut])
    assert lmms_tasks.write_tasks(tmp_path / "test", tmp_path, problems := []) == ["speechprune_test"]
    made = map(json.loads, (tmp_path / "speechprune_test.jsonl").read_text().splitlines())
    assert [row["id"] for row in made] == [f"{cut.id}-q0", f"{cut.id}-q2"]
    assert [str(problem) for problem in problems] == [
        f"{cut.id}-q1: choices: none, expected choices, among which a reply is looked for; decode --mode open asks it"
    ]


@pytest.fixture
def model_class(monkeypatch):
    """The class, above a base class that stands for lmms-eval's: what it does there shows the last test."""

    class Base:
        def __init__(self):
            self.task_dict = {}

    for name in ("", ".api", ".api.model", ".models", ".models.registry_v2"):
        monkeypatch.setitem(sys.modules, f"lmms_eval{name}", ModuleType(f"lmms_eval{name}"))
    sys.modules["lmms_eval.api.model"].lmms = Base
    sys.modules["lmms_eval.models.registry_v2"].ModelManifest = SimpleNamespace
    monkeypatch.delitem(sys.modules, "speechprune.integrations.lmms_model", raising=False)
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["lmms_eval.models"]
    found = named(points["speechprune"].replace(":", "."))()
    assert found.model_id == "speechprune"
    yield named(found.simple_class_path)
    sys.modules.pop("speechprune.integrations.lmms_model", None)


def requests(docs, **options):
    """As lmms-eval makes them."""
    return [
        SimpleNamespace(args=(lmms_tasks.doc_to_text(doc), options, lmms_tasks.doc_to_audio, number, "talks", "test"))
        for number, doc in enumerate(docs)
    ]


def test_replies_are_those_of_our_own_decoding(folder, tmp_path, model_class, caplog):
    """A missing recording is an empty reply, between two that are answered in one batch."""
    made = make_tiny_qwen2_audio(tmp_path)
    docs = [*rows(folder)[:2], {**rows(folder)[2], "recording": str(tmp_path / "gone.wav")}]
    docs = [docs[0], docs[2], docs[1]]
    model = model_class(str(made), rate=0.97, batch_size="3", device="cpu")
    model.task_dict["talks"] = {"test": docs}
    with caplog.at_level(logging.WARNING):
        replies = model.generate_until(requests(docs, max_new_tokens=5, temperature=0.7))
    assert "talks, document 1" in caplog.text and "gone.wav" in caplog.text
    assert "replies are greedy: {'temperature': 0.7} has no effect" in caplog.text
    llm, expected = model._llm, []
    for doc in (docs[0], docs[2]):
        S = llm.project(llm.encode(load_audio(doc["recording"])))
        T, parts = llm.embed_query(doc["question"], doc["choices"], "question+choices")
        known = {"frame_rate": 25, "window": 750, "first_layer": llm.first_layer, "choices": parts}
        index = get_pruner("speechprune").select(PruneInputs.single(S, T, **known), llm.budget(0.97))[0]
        expected += llm.generate([S[index]], [llm.prompt(doc["question"], doc["choices"])], 5)
    assert replies == [expected[0], "", expected[1]]
    end = expected[0][2]
    (cut,) = model.generate_until(requests(docs[:1], max_new_tokens=5, until=["", end]))
    assert cut == expected[0].split(end)[0]
    with pytest.raises(NotImplementedError, match="output_type generate_until"):
        model.loglikelihood([])


def test_a_document_that_cannot_be_answered_ends_no_run(folder, tmp_path, model_class, caplog):
    """It is read like the others of its batch; with the reply behind it it is too long."""
    model = model_class(str(make_tiny_qwen2_audio(tmp_path)), rate=0.97, batch_size=3, device="cpu")
    model._llm.max_positions = 300
    docs = [*rows(folder)[:2], rows(folder)[0]]
    model.task_dict["talks"] = {"test": docs}
    asked = requests(docs, max_new_tokens=20)
    expected = [model.generate_until([request])[0] for request in asked]
    room = model._llm.max_positions - len(model._llm.chat("").before) - len(model._llm.chat("").after) - 35
    asked[1].args = ("a" * room, *asked[1].args[1:])
    with caplog.at_level(logging.WARNING):
        assert model.generate_until(asked) == [expected[0], "", expected[2]]
    assert re.search(r"talks, document 1: .* reads 280 at most", caplog.text)
    caplog.clear()
    assert model.generate_until(requests(docs[:1], max_new_tokens=1000)) == [""]
    assert "document 0: 1000 new tokens, but" in caplog.text and "reads 300 at most; ask for fewer" in caplog.text
    short = {"max_new_tokens": None}
    assert model.generate_until(requests(docs[:1], **short)) == model.generate_until(requests(docs[:1]))


@pytest.mark.skipif(find_spec("lmms_eval") is None, reason=NEEDED)
def test_its_own_runner(folder, tmp_path):
    line = [sys.executable, "-m", "lmms_eval", "--model", "speechprune", "--tasks", "talks_test", "--limit", "2"]
    line += ["--model_args", "pretrained=mini,pruner=rac,rate=0.9", "--include_path", str(folder / "tasks")]
    line += ["--gen_kwargs", "max_new_tokens=1", "--log_samples", "--output_path", str(tmp_path)]
    paths = {"HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": os.pathsep.join(sys.path)}
    env = ENVIRONMENT | paths | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (samples,) = tmp_path.rglob("*samples_talks_test.jsonl")
    replies = [json.loads(sample) for sample in samples.read_text().splitlines()]
    assert [reply["doc_id"] for reply in replies] == [0, 1]
    assert all(reply["filtered_resps"] and reply["accuracy"] in (0, 1) for reply in replies)
