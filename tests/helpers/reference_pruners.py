"""A slow reference of the pruners, written from the equations of arXiv 2412.12009: lists, loops and math only.

S: N lists of D floats; T: L lists of D floats. Shares no code with ``speechprune.pruners``.
"""

from __future__ import annotations

import math
from decimal import Decimal

Matrix = list[list[float]]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: list[float], b: list[float]) -> float:
    lengths = math.sqrt(dot(a, a)) * math.sqrt(dot(b, b))
    return dot(a, b) / lengths if lengths > 0 else 0.0


def best_first(scores: list[float], members: list[int]) -> list[int]:
    """Members by falling score, the earlier first where scores are equal (to the precision of the sums)."""
    return sorted(members, key=lambda i: (-round(scores[i], 9), i))


# Phase 1


def similarities(S: Matrix, T: Matrix) -> list[float]:
    """Eq. 5's inner mean: mean over the query's tokens of F."""
    means = []
    for s in S:
        total = 0.0
        for t in T:
            total += cosine(s, t)
        means.append(total / len(T))
    return means


def frames_of(N: int, f: int) -> list[list[int]]:
    frames = []
    for start in range(0, N, f):
        frames.append(list(range(start, min(start + f, N))))
    return frames


def frame_scores(token_scores: list[float], frames: list[list[int]]) -> list[float]:
    scores = []
    for frame in frames:
        total = 0.0
        for token in frame:
            total += token_scores[token]
        scores.append(total)
    return scores


def softmax(logits: list) -> list:
    """Eq. 6, eq. 12; also of Decimals, which do not underflow."""
    highest = max(logits)
    weights = [(x - highest).exp() if isinstance(x, Decimal) else math.exp(x - highest) for x in logits]
    total = sum(weights)
    return [w / total for w in weights]


def budgets(scores: list[float], sizes: list[int], keep: int, remainder: str) -> list[int]:
    """Eq. 7 with frames that cannot give more than they have."""
    m = len(scores)
    if sum(sizes) <= keep:
        return sizes
    p = softmax(scores)
    if remainder == "floor":
        return [min(math.floor(keep * p[i] + 1e-9), sizes[i]) for i in range(m)]
    share = [0.0] * m
    still_open, left = set(range(m)), float(keep)
    while True:  # share out in proportion; fill the frames that would get too much; again with the others
        mass = sum(p[i] for i in still_open)
        for i in still_open:
            share[i] = left * p[i] / mass
        too_much = [i for i in still_open if share[i] >= sizes[i]]
        if not too_much:
            break
        for i in too_much:
            share[i] = float(sizes[i])
            still_open.remove(i)
            left -= sizes[i]
    counts = [min(math.floor(share[i] + 1e-9), sizes[i]) for i in range(m)]
    rest = keep - sum(counts)
    for i in best_first(scores, [i for i in range(m) if counts[i] < sizes[i]])[:rest]:
        counts[i] += 1
    assert sum(counts) == keep
    return counts


def phase1(S: Matrix, T: Matrix, keep: int, f: int, remainder: str = "redistribute") -> list[int]:
    token_scores = similarities(S, T)
    frames = frames_of(len(S), f)
    counts = budgets(frame_scores(token_scores, frames), [len(frame) for frame in frames], keep, remainder)
    chosen: list[int] = []
    for frame, count in zip(frames, counts, strict=True):
        chosen += best_first(token_scores, frame)[:count]  # eq. 8
    return sorted(chosen)  # eq. 9


# Phase 2


def sign(x: float) -> int:
    return 1 if x >= 0 else -1


def project(S: Matrix, weight: Matrix, bias: list[float] | None) -> Matrix:
    """Eqs. 10-11: sign(S) sign(W), plus the bias as it is."""
    rows = []
    for s in S:
        row = []
        for r, w in enumerate(weight):
            total = sum(sign(x) * sign(y) for x, y in zip(s, w, strict=True))
            row.append(total + (bias[r] if bias is not None else 0.0))
        rows.append(row)
    return rows


def rotated(vector: list[float], position: int, theta: float) -> list[float]:
    half = len(vector) // 2
    out = [0.0] * len(vector)
    for i in range(half):
        angle = position / theta ** (2 * i / len(vector))
        a, b = vector[i], vector[i + half]
        out[i], out[i + half] = a * math.cos(angle) - b * math.sin(angle), a * math.sin(angle) + b * math.cos(angle)
    return out


def phase2_scores(
    S: Matrix,
    q_weight: Matrix,
    k_weight: Matrix,
    num_heads: int,
    num_kv_heads: int,
    *,
    heads: str = "per-head",
    average: str = "queries",
    q_bias: list[float] | None = None,
    k_bias: list[float] | None = None,
    rope_theta: float | None = None,
    causal: bool = False,
    exact: bool = False,
) -> list:
    """Eq. 13's mean for each token, as a probability (float, or Decimal where ``exact``)."""
    N, d = len(S), len(q_weight) // num_heads
    q_rows, k_rows = project(S, q_weight, q_bias), project(S, k_weight, k_bias)
    pairs = []  # (queries, keys) of each head
    for h in range(num_heads):
        g = h * num_kv_heads // num_heads  # the key head that query head h shares
        queries = [row[h * d : (h + 1) * d] for row in q_rows]
        keys = [row[g * d : (g + 1) * d] for row in k_rows]
        if rope_theta is not None:
            queries = [rotated(x, n, rope_theta) for n, x in enumerate(queries)]
            keys = [rotated(x, n, rope_theta) for n, x in enumerate(keys)]
        pairs.append((queries, keys))
    if heads == "full-width":
        joined_queries = [[x for queries, _ in pairs for x in queries[n]] for n in range(N)]
        joined_keys = [[x for _, keys in pairs for x in keys[n]] for n in range(N)]
        pairs = [(joined_queries, joined_keys)]

    zero = Decimal(0) if exact else 0.0
    received, seen_by, row_means = [zero] * N, [0] * N, [zero] * N
    for queries, keys in pairs:
        d_k = len(keys[0])
        for i in range(N):
            visible = range(i + 1) if causal else range(N)
            products = [dot(queries[i], keys[j]) for j in visible]
            A = softmax([Decimal(x) / Decimal(d_k).sqrt() if exact else x / math.sqrt(d_k) for x in products])  # eq. 12
            for j in visible:
                received[j] += A[j]
                seen_by[j] += 1
                row_means[i] += A[j] / (N * len(pairs))
    return row_means if average == "keys" else [a / n for a, n in zip(received, seen_by, strict=True)]
