"""When each sentence of a known transcript is said in a recording.

Two ways, and every result names its own: forced alignment by a CTC model that the user names (``ctc.py``), or, without
one, an estimate (``estimate.py``).
"""

from __future__ import annotations

from speechprune.alignment.base import Aligner, Sentence, Timed, supervise

__all__ = ["Aligner", "Sentence", "Timed", "get_aligner", "supervise"]


def get_aligner(model: str | None, device: str = "auto") -> Aligner:
    """The CTC aligner over ``model``, a Hugging Face name or folder; the estimate where it is None."""
    if model is None:
        from speechprune.alignment.estimate import EstimatingAligner

        return EstimatingAligner()
    from speechprune.alignment.ctc import CTCAligner  # torch and transformers, seconds to import

    return CTCAligner(model, device)
