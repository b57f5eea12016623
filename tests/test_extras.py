"""Optional parts: without their packages the rest works, and what needs one names the extra to install."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.hypotheses import write_rows
from helpers.shells import ENVIRONMENT, ROOT

from speechprune.common.extras import EXTRAS, advice

# Where a package is called otherwise.
NAMES = {
    "kokoro_onnx": "kokoro-onnx",
    "pyrate_limiter": "pyrate-limiter",
    "whisper_normalizer": "whisper-normalizer",
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    """This environment's packages, those of the optional parts aside."""
    folder = tmp_path_factory.mktemp("packages")
    absent = {name for module in EXTRAS for name in (module, NAMES.get(module, module).replace("-", "_"))}
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if path.name.partition("-")[0].lower() not in absent and path.suffix != ".pth":
            (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture
def command(packages, tmp_path):
    """Runs the command with those packages, in ``tmp_path``."""

    def command(*words: str) -> subprocess.CompletedProcess:
        env = ENVIRONMENT | {"PYTHONPATH": f"{ROOT}{os.pathsep}{packages}"}
        line = [sys.executable, "-S", "-m", "speechprune", *words]  # -S: no other packages
        return subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)

    return command


def test_the_table_is_that_of_pyproject():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    packages = {extra: [line.partition(">")[0] for line in lines] for extra, lines in extras.items()}
    for module, extra in EXTRAS.items():
        assert NAMES.get(module, module) in packages[extra]
    optional = {name for extra in set(EXTRAS.values()) for name in packages[extra]}
    assert optional == {NAMES.get(module, module) for module in EXTRAS}
    assert packages["all"] == [f"speechprune[{','.join(sorted(set(EXTRAS.values())))}]"]


@pytest.mark.parametrize(
    ("words", "module", "extra"),
    [
        (["report", "exp"], "matplotlib", "page"),
        (["download", "spiral", "corpus", "--tts", "kokoro"], "kokoro_onnx", "tts"),
        (["prepare", "dream_tts", "corpus", "data"], "pyarrow", "parquet"),
    ],
)
def test_what_needs_one_names_it(command, tmp_path, words, module, extra):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "test-00000-of-00001.parquet").touch()
    write_rows(tmp_path / "exp", [])
    result = command(*words)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"Error: this needs {module}: pip install 'speechprune[{extra}]'"


def test_an_aligner_needs_torchaudio(packages):
    """As modules of Python say it, which the command turns into the line above."""
    code = "from speechprune.alignment import get_aligner; get_aligner('model')"
    env = ENVIRONMENT | {"PYTHONPATH": f"{ROOT}{os.pathsep}{packages}"}
    result = subprocess.run([sys.executable, "-S", "-c", code], env=env, capture_output=True, text=True)
    assert result.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'torchaudio'"
    assert advice(ModuleNotFoundError("", name="torchaudio.functional")).endswith("'speechprune[align]'")
    assert advice(ModuleNotFoundError("", name="another")) is None


def test_without_any_of_them_a_recording_is_answered(command, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(22_050, np.float32), 22_050)  # resampled, too
    result = command("ask", "a.wav", "Which?", "--choice", "red", "--choice", "blue")
    assert result.returncode == 0, result.stderr
    assert "read 25 of 25 audio tokens" in result.stdout
