"""The site: it builds strictly, its links lead somewhere, its numbers are those of the RESULTS files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from helpers.shells import ENVIRONMENT, ROOT

_LINK = re.compile(r'(?:href|src)="?([^" >]+)')


def build(top: Path, site: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(site)]
    env = ENVIRONMENT | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": ""}
    return subprocess.run(command, cwd=top, env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("site")
    built = build(ROOT, place)
    assert built.returncode == 0, built.stderr
    return place


def test_every_link_leads_to_a_file(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        if page.name in ("404.html", "report.html"):  # the first is shown anywhere; the second has tests of its own
            continue
        for link in _LINK.findall(page.read_text()):
            parts = urlsplit(link.replace("&amp;", "&"))
            if parts.scheme or parts.netloc or not parts.path:
                continue
            target = (page.parent / unquote(parts.path)).resolve()
            assert (target / "index.html").is_file() or target.is_file(), f"{page.relative_to(site)}: {link}"


def test_what_it_shows(site):
    results = (site / "results/mini_sir/index.html").read_text()
    table = (ROOT / "egs/mini_sir/RESULTS.md").read_text()
    for line in [line for line in table.splitlines() if line.startswith("| SpeechPrune |")][:4]:
        accuracy = line.split("|")[5].strip()
        assert f">{accuracy}</td>" in results
    assert "accuracy.png" in (site / "gallery/index.html").read_text()
    reference = (site / "api/index.html").read_text()
    for name in ("speechprune.pruners.base.Pruner", "speechprune.data.cuts.validate_cut"):
        assert f'id="{name}"' in reference
    assert "fonts.googleapis" not in (site / "index.html").read_text()


@pytest.mark.parametrize("link", ["nowhere.md", "../nowhere.py", "stages.md#no-such-heading"])
def test_a_link_that_leads_nowhere_fails(tmp_path, link):
    for name in ("docs", "egs/mini_sir/figures", "speechprune"):
        junk = shutil.ignore_patterns("__pycache__", "checkpoint/*.safetensors")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=junk)
    for name in (
        "mkdocs.yml",
        "README.md",
        "AGENTS.md",
        "CONTRIBUTING.md",
        "egs/mini_sir/RESULTS.md",
        "pyproject.toml",
    ):
        shutil.copy(ROOT / name, tmp_path / name)
    with (tmp_path / "docs/costs.md").open("a") as page:
        page.write(f"\n[more]({link})\n")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    warnings = [line for line in built.stderr.splitlines() if line.startswith("WARNING")]
    assert any("no-such-heading" in line or "nowhere" in line for line in warnings)
