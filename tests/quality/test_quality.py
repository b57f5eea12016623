"""`speechprune quality`: DNSMOS as its authors compute it, one table of sets, thresholds, nothing done twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
from click.testing import CliRunner
from helpers.fakes import make_cut, rows
from helpers.tiny_whisper import sound, write_hearing_whisper

from speechprune.asr.wer import WordErrors
from speechprune.cli import main
from speechprune.data.cuts import read_cuts, write_cuts
from speechprune.quality.dnsmos import DNSMOS, WINDOW, Opinion, _packaged
from speechprune.quality.hearing import Sample
from speechprune.quality.sets import Thresholds, judge

SAID = {"test-0": "red blue", "test-1": "green", "test-2": "blue red"}


@pytest.fixture(scope="module")
def mos() -> DNSMOS:
    return DNSMOS(hop=3)


@pytest.mark.parametrize("seconds", [2.5, 12.5])
def test_dnsmos_is_the_mean_over_windows_one_by_one(mos, seconds):
    """As the authors' script has it: short recordings repeated, a window at a time, polynomials by hand."""
    samples = np.random.default_rng(0).normal(0, 0.05, int(16_000 * seconds)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(_packaged() / "sig_bak_ovr.onnx"), providers=["CPUExecutionProvider"])
    audio = samples
    while len(audio) < WINDOW:
        audio = np.append(audio, samples)
    heard = []
    for start in range(0, len(audio) - WINDOW + 1, 3 * 16_000):
        ((sig, bak, ovr),) = session.run(None, {"input_1": audio[None, start : start + WINDOW]})[0]
        speech = -0.08397278 * sig**2 + 1.22083953 * sig + 0.0052439
        background = -0.13166888 * bak**2 + 1.60915514 * bak - 0.39604546
        heard.append((speech, background, -0.06766283 * ovr**2 + 1.11546468 * ovr + 0.04602535))
    found = mos.score(samples)
    assert (found.speech, found.background, found.overall) == pytest.approx(np.mean(heard, axis=0), rel=1e-4)


def test_what_is_no_dnsmos_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no sig_bak_ovr\.onnx in .*give --mos the folder dnsmos_models"):
        DNSMOS(tmp_path)
    (tmp_path / "sig_bak_ovr.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match="is no model that onnxruntime reads"):
        DNSMOS(tmp_path)
    shutil.copy(_packaged() / "model_v8.onnx", tmp_path / "sig_bak_ovr.onnx")
    with pytest.raises(ValueError, match=r"it is no DNSMOS P\.835"):
        DNSMOS(tmp_path)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A Whisper, and two sets: what is said, and what differs by a word and has a broken file."""
    folder = tmp_path_factory.mktemp("quality")
    write_hearing_whisper(folder / "tiny-whisper")
    for name, texts in (("true", SAID), ("odd", SAID | {"test-2": "blue green"})):
        made = []
        for seed, (recording, words) in enumerate(SAID.items()):
            path = folder / name / "test" / f"{recording}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            samples = sound(words, 2.0, seed)
            soundfile.write(path, samples, 16_000)
            cut = make_cut(recording, path, samples=len(samples))
            cut.supervisions[0].text = texts[recording]
            made.append(cut)
        write_cuts(folder / name / "test" / "cuts.jsonl.gz", made)
    (folder / "odd" / "test" / "test-1.wav").write_bytes(b"no sound")
    return folder


def run(world: Path, *words: str):
    """Into one folder: whichever test is the first measures."""
    out = world / "out"
    sets = [f"{name}={world / name / 'test' / 'cuts.jsonl.gz'}" for name in ("true", "odd")]
    options = ["--asr", str(world / "tiny-whisper"), "--device", "cpu", "--mos-hop", "9"]
    return CliRunner().invoke(main, ["quality", *sets, str(out), *options, *words])


def test_several_sets_are_one_table_with_what_is_published_beside_them(world):
    result, out = run(world), world / "out"
    assert result.exit_code == 0, result.output
    page = (out / "QUALITY.md").read_text()
    header, _, *lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")]
    cells = [dict(zip(header, map(str.strip, line), strict=False)) for line in lines]
    found = json.loads((out / "quality.json").read_text())["sets"]
    assert [(row["Set"], row["Recordings"], row["WER"]) for row in cells[:2]] == [
        ("true", "3", "0.0000"),
        ("odd", "3", "0.2500"),
    ]
    assert cells[0]["Mean seconds"] == f"{(6 + 2 + 6) / 3:.2f}"
    assert cells[0]["DNSMOS overall"] == f"{found['true']['dnsmos']['overall']:.2f}"
    paper = cells[2]
    assert (paper["Recordings"], paper["Mean seconds"], paper["WER"], paper["UTMOS"]) == (
        "1,012",
        "87.89",
        "0.0389",
        "3.91",
    )
    assert "test-1: not measured:" in page
    assert "UTMOS is not measured" in page
    assert "- ASR: tiny-whisper\n" in page
    assert (out / "figures" / "quality.png").stat().st_size > 1000
    worst = (out / "worst.html").read_text()
    odd = worst[worst.index("<h2>odd") :]
    assert odd.index("test-2: WER 0.5000") < odd.index("test-0: WER 0.0000")
    assert "said: blue green<br>heard: blue red" in odd
    assert not (out / "odd" / "cuts.jsonl.gz").exists()


def test_thresholds_write_what_is_kept_and_why_the_rest_is_not(world):
    result, out = run(world, "--max-wer", "0.3"), world / "out"
    assert result.exit_code == 0, result.output
    assert [cut.id for cut in read_cuts(out / "odd" / "cuts.jsonl.gz", [])] == ["test-0"]
    dropped = {row["recording"]: row["reasons"] for row in rows(out / "odd" / "dropped.jsonl")}
    assert dropped["test-2"] == ["WER 0.5000, above 0.3"]
    assert dropped["test-1"][0].startswith("not measured: ")
    assert rows(out / "true" / "dropped.jsonl") == []
    before = (out / "true" / "mos.jsonl").read_bytes()
    assert run(world).exit_code == 0  # without a threshold nothing is dropped, and nothing is measured again
    assert (out / "true" / "mos.jsonl").read_bytes() == before
    assert not (out / "odd" / "cuts.jsonl.gz").exists()


def test_two_sets_of_one_name_are_refused(world, tmp_path):
    cuts = [str(world / name / "test" / "cuts.jsonl.gz") for name in ("true", "odd")]
    result = CliRunner().invoke(main, ["quality", *cuts, str(tmp_path)])
    assert result.exit_code == 2
    assert "two sets are called test; give NAME=CUTS" in result.output


def test_reasons():
    def sample(wer: int | None, mos: float, error: str | None = None) -> Sample:
        counted = None if wer is None else WordErrors(wer, 10)
        return Sample("x", None, 1.0, counted, Opinion(4.0, 4.0, mos), "", "", error)

    both = Thresholds(0.2, 3.0)
    assert both.reasons(sample(2, 3.0)) == []
    assert both.reasons(sample(3, 2.5)) == ["WER 0.3000, above 0.2", "DNSMOS 2.50, below 3"]
    assert both.reasons(sample(None, 3.5)) == ["its cut has no text to compare with"]
    assert Thresholds(min_mos=3.0).reasons(sample(None, 3.5)) == []
    assert both.reasons(sample(0, 5.0, "broken")) == ["not measured: broken"]
    assert judge("a", [sample(9, 1.0)], Thresholds()).dropped == {}
