"""``speechprune doctor``: what is missing is named before hours are spent; GPU, hub, disk and packages are fakes."""

from __future__ import annotations

import json
import shutil
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner
from helpers.fakes import make_corpus
from helpers.speech_configs import SEVEN_B
from helpers.tiny import make_tiny_qwen2_audio
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from speechprune import SpeechLLM
from speechprune.cli import main
from speechprune.costs.outline import outline
from speechprune.data.cuts import write_cuts
from speechprune.doctor import machine, question, sources
from speechprune.doctor.findings import within
from speechprune.features.extract import extract_features

QWEN = "Qwen/Qwen2-Audio-7B-Instruct"
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder of its own, and no hub."""
    monkeypatch.chdir(tmp_path)

    def unreachable(*_args, **_options):
        raise ConnectionError("[Errno -2] Name or service not known")

    def nothing_cached(*_args, **_options):
        raise LocalEntryNotFoundError("nothing") from ConnectionError("no net")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    monkeypatch.setattr("huggingface_hub.snapshot_download", nothing_cached)
    return tmp_path


@pytest.fixture
def seven_b(tmp_path, monkeypatch) -> Path:
    """The sizes of Qwen2-Audio-7B, with files that nobody reads."""
    folder = tmp_path / "seven_b"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SEVEN_B))
    (folder / "model.safetensors").write_bytes(b"")
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        (folder / name).write_text("{}")
    monkeypatch.setattr("speechprune.models.folder.ModelFolder.weight_sizes", lambda _folder: [8_397_094_912])
    return folder


@pytest.fixture
def gpu(monkeypatch):
    """Says how much memory the only GPU has, and has free."""

    def set_memory(free: float, total: float) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda _number=0: (int(free * 1e9), int(total * 1e9)))
        monkeypatch.setattr("torch.cuda.get_device_name", lambda _number=0: "Fake GPU")
        monkeypatch.setattr("speechprune.doctor.memory.pick_device", lambda _name: torch.device("cuda"))

    return set_memory


def doctor(*words: object) -> tuple[int, dict[str, dict]]:
    """(exit status, {about: finding}); of several about one thing the worst."""
    result = CliRunner().invoke(main, ["doctor", "--json", *map(str, words)])
    assert result.exit_code in (0, 1), result.output
    content = json.loads(result.stdout)
    assert content["ok"] == (result.exit_code == 0)
    rank = ("ok", "note", "missing")
    return result.exit_code, {f["about"]: f for f in sorted(content["findings"], key=lambda f: rank.index(f["status"]))}


def test_mini_runs_anywhere():
    start = time.monotonic()
    code, found = doctor()
    assert (code, time.monotonic() - start < 30) == (0, True)
    assert {"gpu", "model", "memory", "batches", "attention", "disk", "corpus spiral", "slurm"} <= found.keys()
    assert all(finding["do"] for finding in found.values() if finding["status"] == "missing")
    assert "egs/spiral/run.sh" in found["corpus spiral"]["do"]


def test_the_page_says_what_to_do(seven_b, gpu):
    gpu(free=12, total=16)
    result = CliRunner().invoke(main, ["doctor", "--model", str(seven_b)])
    assert result.exit_code == 1
    assert "MISSING  memory" in result.stdout and "-> a GPU with more memory" in result.stdout
    assert result.stdout.endswith("1 missing: a run would fail, or not even begin.\n")


@pytest.mark.parametrize(
    ("free", "options", "memory", "batches"),
    [
        (79, [], "ok", "ok"),
        (40, [], "ok", "note"),  # weights and a question, not the largest batch
        (16, [], "missing", None),
        (16, ["--quantize", "4bit"], "ok", "note"),
        (40, ["--dtype", "float32"], "ok", "note"),
        (30, ["--dtype", "float32"], "missing", None),
    ],
)
def test_memory_against_what_the_model_needs(seven_b, gpu, free, options, memory, batches):
    gpu(free, total=80)
    code, found = doctor("--model", seven_b, *options)
    assert (found["memory"]["status"], found.get("batches", {}).get("status")) == (memory, batches)
    assert code == (memory == "missing")


def test_the_batch_that_is_said_to_fit_does(seven_b, gpu, tmp_path):
    gpu(free=40, total=80)
    _, found = doctor("--model", seven_b)
    line = found["batches"]["do"].split(" in ")[0]
    (tmp_path / "decode.yaml").write_text(f"{line}\nsystems: [original]\n")
    assert int(line.split(": ")[1]) < 32_768
    assert doctor("--model", seven_b, "--config", tmp_path / "decode.yaml")[1]["batches"]["status"] == "ok"


def test_no_hub_is_said_at_once_and_sizes_are_those_published(gpu):
    gpu(free=79, total=80)
    code, found = doctor("--model", QWEN)
    assert code == 1
    assert "the hub cannot be reached" in found["model"]["found"] and "hf download" in found["model"]["do"]
    assert "(sizes as published)" in found["memory"]["found"]
    assert "16.8 GB" in found["disk, hub"]["found"]
    _, unknown = doctor("--model", "someone/else")
    assert unknown["memory"]["status"] == "note" and "hub cannot be reached" in unknown["memory"]["found"]


@pytest.mark.parametrize(
    ("raised", "status", "words"),
    [
        (None, "ok", "no gate, licence: apache-2.0"),
        (GatedRepoError, "missing", "accept the licence at https://huggingface.co/Qwen/"),
        (RepositoryNotFoundError, "missing", "hf auth login"),
    ],
)
def test_licence_gates(monkeypatch, raised, status, words):
    info = SimpleNamespace(card_data=SimpleNamespace(license="apache-2.0"), gated=False)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_args, **_options: info)

    def check(*_args):
        if raised:
            raise raised.__new__(raised)  # the hub's client makes them of a response

    monkeypatch.setattr("huggingface_hub.HfApi.auth_check", check)
    (found,) = sources.model_found(QWEN, "unknown")
    assert found.status == status
    assert words in found.found + found.do


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text_config": None}, "config.json lacks sizes or is another model's"),
        ({"text_config": "x"}, "cannot load config.json"),
        ({"dtype": "float99"}, "cannot load config.json"),
        ({"model_type": "llama"}, "unknown model_type 'llama'; families: "),
        ({"model_type": "moshi"}, "moshi models cannot be pruned: "),
        ({}, "lacks what qwen2_audio models need: a tokenizer ("),
    ],
)
def test_a_folder_that_will_not_load_is_missing(tmp_path, change, words):
    """No weights are needed to know it, and the sizes that fill the gaps of a config.json say nothing."""
    folder = Path(make_tiny_qwen2_audio(tmp_path / "tiny"))
    assert doctor("--model", folder)[0] == 0
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    if not change:
        (folder / "tokenizer.json").unlink()
    code, found = doctor("--model", folder)
    assert (code, found["model"]["status"]) == (1, "missing")
    assert words in found["model"]["found"]


def test_a_model_of_the_hub_that_is_not_served(monkeypatch, tmp_path):
    info = SimpleNamespace(card_data=None, gated=False)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_args, **_options: info)
    monkeypatch.setattr("huggingface_hub.HfApi.auth_check", lambda *_args: None)
    monkeypatch.setattr("speechprune.models.folder.fetch_snapshot", lambda *_args: tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    code, found = doctor("--model", "someone/llama")
    assert (code, found["model"]["status"]) == (1, "missing")
    assert "someone/llama: unknown model_type 'llama'" in found["model"]["found"]


def test_a_hub_that_never_answers_is_not_waited_for():
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer within"):
        within(0.05, lambda: time.sleep(5))
    assert time.monotonic() - start < 2


def test_the_parts_of_a_model_are_looked_for_too():
    assert [
        finding.found.split(":")[0] for finding in sources.model_found("WillHeld/DiVA-llama-3-v0-8b", "unknown")
    ] == [
        "WillHeld/DiVA-llama-3-v0-8b",
        "openai/whisper-large-v3",
        "meta-llama/Meta-Llama-3-8B-Instruct",
    ]


def test_a_full_disk(tmp_path, monkeypatch):
    write_cuts(tmp_path / "data/test/cuts.jsonl.gz", make_corpus(tmp_path, 2))
    _, found = doctor()
    assert "h in data/" in found["disk"]["found"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(100, 90, 10))
    code, found = doctor()
    assert (code, found["disk"]["status"]) == (1, "missing")


def test_what_stage_2_stores_is_what_was_said(tmp_path):
    model = make_tiny_qwen2_audio(tmp_path / "tiny")
    cuts = make_corpus(tmp_path, 2, 2.0)
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    extract_features(tmp_path / "cuts.jsonl", tmp_path / "dump", SpeechLLM.from_pretrained(model), progress=False)
    stored = (tmp_path / "dump/feats.1.ark").stat().st_size
    said = sum(outline(model).dump_bytes(cut.duration) for cut in cuts)
    assert said < stored < 2 * said + 1000  # signals and headers are small beside real models' states


def test_corpora_by_stage(tmp_path):
    (tmp_path / "downloads/spiral").mkdir(parents=True)
    (tmp_path / "downloads/spiral/data.jsonl").write_text("{}")
    assert doctor()[1]["corpus spiral"]["found"].endswith("downloads/spiral, not prepared")
    (tmp_path / "run.sh").write_text("exec sir.sh --corpus spiral\n")
    write_cuts(tmp_path / "data/test/cuts.jsonl.gz", make_corpus(tmp_path, 1))
    found = doctor()[1]["corpus spiral"]
    assert (found["status"], found["found"]) == ("ok", f"prepared in {tmp_path}: test")


def test_kernels_and_packages_that_the_options_need(monkeypatch):
    monkeypatch.setattr(machine, "find_spec", lambda _module: None)
    code, found = doctor("--attention", "flash_attention_2", "--device-map", "auto")
    assert code == 1
    assert "pip install flash-attn" in found["attention"]["do"]
    assert found["extras"]["found"].startswith("accelerate is not installed, and")


def test_one_question_end_to_end():
    code, found = doctor("--ask")
    assert (code, found["ask"]["status"]) == (0, "ok")
    assert "answered in" in found["ask"]["found"]


def test_a_question_that_fails_is_told_and_none_is_asked_in_vain(tmp_path):
    def load():
        raise RuntimeError("broken weights")

    failed = question.ask_once(load)
    assert (failed.status, failed.found) == ("missing", "one question failed: RuntimeError: broken weights")
    code, found = doctor("--model", tmp_path / "gone", "--ask")
    assert (code, found["ask"]["found"]) == (1, "not asked: something is missing")


def test_what_cannot_be_read_is_an_error(tmp_path):
    for words in (["--config", str(tmp_path / "gone.yaml")], ["--device", "gpu"]):
        result = CliRunner().invoke(main, ["doctor", *words])
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: ")
