"""Bad input from stage 2 to stage 4: each is named, the rest is answered, and the table counts what was not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.decoding import make_recordings, merged, questions, run
from helpers.fakes import make_cut, speechlike, write_silence
from helpers.tiny import make_tiny_qwen2_audio
from lhotse import MonoCut

from speechprune import SpeechLLM
from speechprune.data.cuts import write_cuts
from speechprune.decoding.systems import load_config
from speechprune.features.extract import extract_features
from speechprune.scoring.stage import write_results

LONG = 400.0  # seconds of silence: 10,000 tokens, where the model reads 8,192


def recording(name: str, path: Path, *args, **kwargs) -> MonoCut:
    cut = make_cut(name, path, *args, **kwargs)
    cut.supervisions = []
    cut.custom["questions"] = questions(name)
    return cut


@pytest.fixture
def cuts(tmp_path) -> list[MonoCut]:
    """Two good recordings, and one of each kind that can go wrong."""
    noise = speechlike(4.0, 9)
    noise[40_000] = np.nan
    soundfile.write(tmp_path / "nan.wav", noise, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "no-samples.wav", np.zeros(0), 16000)
    soundfile.write(tmp_path / "stereo.wav", speechlike(4.0, 8, 8000, 2), 8000)
    (tmp_path / "no-bytes.wav").touch()
    (tmp_path / "text.wav").write_text("once upon a time")
    write_silence(tmp_path / "long.wav", LONG)
    bad = [
        recording(name, tmp_path / f"{name}.wav", 4.0) for name in ("missing", "nan", "no-bytes", "no-samples", "text")
    ]
    stereo = recording("stereo", tmp_path / "stereo.wav", 4.0, rate=8000, channels=2)
    return [*make_recordings(tmp_path, (4.0, 31.0)), *bad, stereo, recording("long", tmp_path / "long.wav", LONG)]


def test_bad_input_from_audio_to_table(tmp_path, cuts, caplog):
    write_cuts(tmp_path / "cuts.jsonl", cuts)
    with (tmp_path / "cuts.jsonl").open("a") as file:
        file.write('{"id": "broken", "type": "MonoC\n')
    (tmp_path / "decode.yaml").write_text(
        "systems: [original, full, {method: rap, rates: [0.4]}, {method: speechprune, rates: [0.4]}]"
    )
    model = SpeechLLM.from_pretrained(make_tiny_qwen2_audio(tmp_path / "tiny"), device="cpu")

    features = extract_features(tmp_path / "cuts.jsonl", tmp_path / "dump", model, progress=False)
    assert (features.done, features.failed, features.unwritten) == (4, 5, 0)
    messages = {problem.where: str(problem) for problem in features.problems}
    assert messages.keys() == {"missing", "nan", "no-bytes", "no-samples", "text", f"{tmp_path / 'cuts.jsonl'}:10"}
    for name, reason in {
        "missing": "no such audio file",
        "nan": "NaN or infinite sample at 2.500 s",
        "no-bytes": "the file is empty (0 bytes)",
        "no-samples": "the audio is empty (0 samples)",
        "text": "not audio that libsndfile reads",
    }.items():
        assert f"{tmp_path / name}.wav: {reason}" in messages[name]
    assert "stereo.wav: sampled at 8000 Hz, below the 16000 Hz wanted; resampled" in caplog.text

    exp = tmp_path / "exp" / "tiny" / "test"
    caplog.clear()
    (decoded,) = run(tmp_path / "dump", exp, load_config(tmp_path / "decode.yaml"), model)
    assert (decoded.done, decoded.failed, decoded.problems) == (4 * 4 * 3 - 3, 5 * 4 * 3 + 3, [])
    for name in ("missing", "nan", "no-bytes", "no-samples", "text"):
        assert f"{name}: 12 rows without an answer: {tmp_path / name}.wav: " in caplog.text
    assert "long: 1 rows without an answer: 10" in caplog.text

    write_results(exp, "speechprune score exp/tiny/test")
    scores = {s["system"]: s for s in json.loads((exp / "score.json").read_text())["systems"]}
    counts = {name: (s["n"], s["errors"], s["unparsed"], s["tokens"]) for name, s in scores.items()}
    # Answered: 100, 775, 100 and 10,000 tokens, three questions each; Original reads 750 at most, the budget is 450.
    assert counts == {
        "original": (12, 15, 0, (100 + 750 + 100 + 750) / 4),
        "full": (9, 18, 0, (100 + 775 + 100) / 3),
        "rap": (12, 15, 0, (100 + 450 + 100 + 450) / 4),
        "speechprune": (12, 15, 0, (100 + 450 + 100 + 450) / 4),
    }
    results = (exp / "RESULTS.md").read_text()
    assert "## Errors (63 rows)" in results
    assert "not audio that libsndfile reads" in results

    # Mended, the recordings are answered by a rerun, and nothing is counted as an error but what is too long.
    for name in ("missing", "nan", "no-bytes", "no-samples", "text"):
        soundfile.write(tmp_path / f"{name}.wav", speechlike(4.0, 5), 16000)
    assert extract_features(tmp_path / "cuts.jsonl", tmp_path / "dump", model, progress=False).done == 5
    (decoded,) = run(tmp_path / "dump", exp, load_config(tmp_path / "decode.yaml"), model)
    assert (decoded.done, decoded.failed) == (5 * 4 * 3, 3)
    assert {key[0] for key, row in merged(exp).items() if row["error"]} == {"full"}
