"""DNSMOS P.835: what listeners would say of a recording, by Microsoft's models, without a reference.

Paper: Reddy, Gopal and Cutler, ICASSP 2022, arXiv 2110.01763. The models (MIT) come with the package ``speechmos``,
whose code asks for librosa; nothing of it is run here. Windows and polynomials are those of
https://github.com/microsoft/DNS-Challenge/blob/master/DNSMOS/dnsmos_local.py.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechprune.common.extras import require

SAMPLING_RATE = 16_000
WINDOW = 144_160  # samples, 9.01 s
FILE = "sig_bak_ovr.onnx"
_BATCH = 2  # windows at once: each takes about 200 MB, and more are no quicker
# Of the model's raw SIG, BAK and OVRL, highest power first.
_POLYNOMIALS = (
    (-0.08397278, 1.22083953, 0.0052439),
    (-0.13166888, 1.60915514, -0.39604546),
    (-0.06766283, 1.11546468, 0.04602535),
)


@dataclass(frozen=True)
class Opinion:
    """Mean opinion scores, 1 to 5, of the speech, the background and all together."""

    speech: float
    background: float
    overall: float


class DNSMOS:
    """The model, started.

    Attributes:
        fingerprint: 16 hex digits over its weights, and the hop.
    """

    def __init__(self, folder: str | Path | None = None, hop: int = 1) -> None:
        """Load the model.

        Args:
            folder: that holds ``sig_bak_ovr.onnx``; by default that of the package ``speechmos``.
            hop: whole seconds from window to window; 1 as its authors have it, more is quicker and coarser.
        Raises:
            ModuleNotFoundError: onnxruntime, or without a folder speechmos, is missing.
            FileNotFoundError: the folder does not hold the model.
            ValueError: it is no such model, or ``hop`` is below 1.
        """
        import onnxruntime

        if hop < 1:
            raise ValueError(f"hop of {hop} s between windows, expected 1 or more")
        path = (_packaged() if folder is None else Path(folder)) / FILE
        if not path.is_file():
            raise FileNotFoundError(f"no {FILE} in {path.parent}; give --mos the folder dnsmos_models of speechmos")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", 0))  # 0: all cores
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common type
            raise ValueError(f"{path} is no model that onnxruntime reads: {error}") from error
        (given,) = self._session.get_inputs()
        if given.shape[-1] != WINDOW:
            raise ValueError(f"{path} takes {given.shape} samples, expected windows of {WINDOW}: it is no DNSMOS P.835")
        self._input, self._hop = given.name, hop * SAMPLING_RATE
        with path.open("rb") as file:
            self.fingerprint = f"{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}/{hop}"

    def score(self, samples: np.ndarray) -> Opinion:
        """The mean over the windows of a recording.

        Args:
            samples: (T,) float32 at 16 kHz in [-1, 1]; what is shorter than a window is repeated until it fills one.
        Raises:
            ValueError: no samples.
        """
        if not len(samples):
            raise ValueError("nothing to judge: a recording without samples")
        if len(samples) < WINDOW:
            samples = np.tile(samples, -(-WINDOW // len(samples)))
        starts = range(0, len(samples) - WINDOW + 1, self._hop)
        windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[:: self._hop]
        raw = [
            self._session.run(None, {self._input: np.ascontiguousarray(windows[k : k + _BATCH], np.float32)})[0]
            for k in range(0, len(starts), _BATCH)
        ]
        columns = np.concatenate(raw).T
        return Opinion(*(float(np.polyval(p, x).mean()) for p, x in zip(_POLYNOMIALS, columns, strict=True)))


def _packaged() -> Path:
    """The folder of the installed package's models; the package is found, not imported."""
    require("speechmos")
    spec = importlib.util.find_spec("speechmos")
    assert spec is not None and spec.submodule_search_locations  # noqa: S101  (require has seen it)
    return Path(next(iter(spec.submodule_search_locations))) / "dnsmos_models"
