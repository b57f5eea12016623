"""``make gpu``: its parts on tiny sizes, on a machine that has torch and transformers and nothing else of ours."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import torch
from helpers.shells import ROOT
from packaging.requirements import Requirement

from speechprune.bench import gpu
from speechprune.bench.gpu import PARTS, TINY, Part, measure_gpu
from speechprune.bench.pages import SKIPPED, gpu_section, put_section
from speechprune.bench.timing import TimeUpError, limited

CPU = torch.device("cpu")


def required(name: str, seen: set[str]) -> Iterator[str]:
    """A package and all that it cannot be without."""
    if name in seen:
        return
    seen.add(name)
    try:
        found = distribution(name)
    except PackageNotFoundError:  # for another system
        return
    yield name
    for requirement in map(Requirement, found.requires or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield from required(requirement.name, seen)


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """A folder of site-packages with torch, transformers and what these need."""
    folder, site = tmp_path_factory.mktemp("bare"), Path(sysconfig.get_path("purelib"))
    seen: set[str] = set()
    for name in [*required("torch", seen), *required("transformers", seen)]:
        record = (distribution(name).read_text("RECORD") or "").splitlines()
        for top in {re.split("[/,]", line, maxsplit=1)[0] for line in record} - {".."}:
            if not (folder / top).exists():
                (folder / top).symlink_to(site / top)
    return folder


def test_it_needs_torch_and_transformers_alone(bare, tmp_path):
    command = [sys.executable, "-S", "-m", "speechprune.bench.gpu", "--tiny", "--device", "cpu"]
    command += ["--page", str(tmp_path / "page.md"), "--json", str(tmp_path / "gpu.json")]
    env = {"PYTHONPATH": f"{bare}:{ROOT}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    (tmp_path / "page.md").write_text("# Performance\n\nOurs.\n")
    absent = (
        "import importlib.util as u; print([m for m in ('lhotse', 'kaldiio', 'soundfile', 'pytest') if u.find_spec(m)])"
    )
    shown = subprocess.run([sys.executable, "-S", "-c", absent], env=env, capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert {name: part["stopped"] for name, part in result["parts"].items()} == dict.fromkeys(PARTS)
    rows = {name: part["rows"] for name, part in result["parts"].items()}
    assert len(rows["equality"]) == 44 and not any(row["differs"] for row in rows["equality"])
    assert [(row["batch"], row["rate"]) for row in rows["prefill"]] == [
        (batch, rate) for batch in (1, 2) for rate in (None, 0.2, 0.4, 0.6, 0.8)
    ]
    assert {row["at_once"] for row in rows["first_tokens"]} == {1, 3}
    (halved,) = rows["halving"]
    assert (halved["answered"], halved["errors"]) == (halved["questions"], [])
    assert halved["tokens_after"] == halved["tokens_before"] // 8
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("# Performance\n\nOurs.\n\n## On a GPU\n")
    assert re.findall(r"^### (.*)", page, re.MULTILINE) == [part.title for part in PARTS.values()]


def test_without_a_gpu_nothing_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    put_section(tmp_path / "page.md", "Measured elsewhere.")
    assert gpu.main(["--page", str(tmp_path / "page.md"), "--json", str(tmp_path / "gpu.json")]) == 0
    assert capsys.readouterr().out == f"{SKIPPED}\n"
    assert gpu_section(tmp_path / "page.md") == "Measured elsewhere."
    assert not (tmp_path / "gpu.json").exists()


def test_a_section_is_found_again(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Performance\n\nA.\n")
    assert gpu_section(page) == gpu_section(tmp_path / "gone") == SKIPPED
    for text in ("One.", "Two."):
        put_section(page, text)
        assert gpu_section(page) == text
    assert page.read_text().startswith("# Performance\n\nA.\n\n## On a GPU\n")
    assert page.read_text().count("## On a GPU") == 1 and "One." not in page.read_text()


def endless(_runner: object) -> Iterator[dict]:
    for number in range(10**9):
        yield {"number": number}


def failing(_runner: object) -> Iterator[dict]:
    yield {"number": 1}
    raise RuntimeError("device-side assert")


def test_a_part_ends_at_its_limit_and_what_it_measured_is_kept(monkeypatch):
    parts = {
        "endless": Part("Endless", 0.05, endless, lambda rows: f"{rows[0]}"),
        "failing": Part("Failing", 5, failing, lambda rows: f"{len(rows)} row"),
    }
    monkeypatch.setattr(gpu, "PARTS", parts)
    kept = []
    result = measure_gpu(CPU, TINY, lambda result: kept.append(len(result["parts"])))
    assert kept == [1, 2]
    first, second = result["parts"].values()
    assert first["rows"] and first["stopped"] == "TimeUpError: the limit of 0.05 s"
    assert (second["rows"], second["stopped"]) == ([{"number": 1}], "RuntimeError: device-side assert")
    text = gpu.format_gpu(result)
    assert "**Ended early: TimeUpError: the limit of 0.05 s.**" in text and "\n\n1 row\n\n" in text


def test_a_limit_that_is_not_reached_leaves_nothing_behind():
    with limited(60):
        pass
    with pytest.raises(TimeUpError), limited(0.01):
        while True:
            pass


def test_all_parts_together_take_under_ten_minutes():
    assert sum(part.seconds for part in PARTS.values()) < 9.5 * 60


def test_a_pruner_that_differs_is_a_failure(monkeypatch, capsys):
    wrong = {"pruner": "rap", "options": {}, "differs": ["keep=7"]}
    part = Part("Equal", 5, lambda _runner: iter([wrong]), PARTS["equality"].text)
    monkeypatch.setattr(gpu, "PARTS", {"equality": part})
    assert gpu.main(["--tiny", "--device", "cpu"]) == 1
    assert "- rap {}: keep=7" in capsys.readouterr().out
