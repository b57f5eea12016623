"""The paper's numbers that the benchmark measures beside."""

from __future__ import annotations

QUERY_TOKENS = 20  # of a question, for phase 1
SECONDS = 90.0  # of a recording: SPIRAL's mean is 87.89 s
PAPER_MS = {750: 779, 600: 662, 450: 511, 300: 419, 150: 278}  # audio tokens: Table I's prefill, a Quadro RTX 6000
