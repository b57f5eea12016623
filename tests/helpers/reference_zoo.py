"""Slow references of the pruners from the literature, written from their formulas: lists, loops and math only.

S: N lists of D floats; T: L lists of D floats; scores: lists of floats. Shares no code with ``speechprune.pruners``.
"""

from __future__ import annotations

import math
from itertools import pairwise

from helpers.reference_pruners import Matrix, cosine, dot

Groups = list[tuple[list[int], list[float]]]  # of each kept token: the tokens that went into it, and their weights


def best(scores: list[float], keep: int) -> list[int]:
    """Indices of the highest, ascending; the earlier where scores are equal to nine digits."""
    order = sorted(range(len(scores)), key=lambda i: (-round(scores[i], 9), i))
    return sorted(order[:keep])


def uniform(N: int, keep: int) -> list[int]:
    kept = min(keep, N)
    return [math.floor(i * N / kept) for i in range(kept)]


def pooling(N: int, keep: int) -> Groups:
    starts = [*uniform(N, keep), N]
    return [(list(range(start, end)), [1 / (end - start)] * (end - start)) for start, end in pairwise(starts)]


def text_similarity(S: Matrix, T: Matrix) -> list[float]:
    return [sum(cosine(s, t) for t in T) / len(T) for s in S]


def change(S: Matrix) -> list[float]:
    return [math.inf] + [1 - cosine(S[n], S[n - 1]) for n in range(1, len(S))]


def key_norms(S: Matrix, weight: Matrix, bias: list[float] | None, p: int) -> list[float]:
    norms = []
    for s in S:
        key = [dot(row, s) + (bias[i] if bias else 0) for i, row in enumerate(weight)]
        norms.append(sum(abs(x) ** p for x in key) ** (1 / p))
    return norms


def per_segment(scores: list[float], segments: int, keep: int) -> list[int]:
    N = len(scores)
    parts: list[list[int]] = [[] for _ in range(segments)]
    for n in range(N):
        parts[n * segments // N].append(n)
    queues = [sorted(part, key=lambda i: (-round(scores[i], 9), i)) for part in parts]
    kept: list[int] = []
    rank = 0
    while len(kept) < min(keep, N):  # the best of every segment, then the second best of every segment, ..
        turn = sorted(queue[rank] for queue in queues if rank < len(queue))
        kept += turn[: min(keep, N) - len(kept)]
        rank += 1
    return sorted(kept)


def box(scores: list[float], reach: int) -> list[float]:
    found = []
    for n in range(len(scores)):
        window = scores[max(0, n - reach) : n + reach + 1]
        found.append(sum(window) / len(window))
    return found


def low_pass(scores: list[float], highest: float) -> list[float]:
    """The scores without what repeats more often than ``highest`` times in the recording: a Fourier sum by hand."""
    N = len(scores)
    found = []
    for n in range(N):
        total = 0.0
        for k in range(N // 2 + 1):
            if k > int(highest):
                continue
            a = sum(scores[m] * math.cos(2 * math.pi * k * m / N) for m in range(N))
            b = sum(scores[m] * math.sin(2 * math.pi * k * m / N) for m in range(N))
            double = 1 if k == 0 or 2 * k == N else 2
            total += double * (a * math.cos(2 * math.pi * k * n / N) + b * math.sin(2 * math.pi * k * n / N)) / N
        found.append(total)
    return found


def divprune(S: Matrix, count: int) -> list[int]:
    N = len(S)
    distance = [[1 - cosine(a, b) for b in S] for a in S]
    picked: list[int] = []
    while len(picked) < min(count, N):
        rest = [n for n in range(N) if n not in picked]
        others = picked or range(N)
        gain = {n: round(min((distance[n][m] for m in others if m != n), default=math.inf), 9) for n in rest}
        picked.append(max(rest, key=lambda n: (gain[n], -n)))
    return picked


def determinant(matrix: Matrix) -> float:
    rows = [row[:] for row in matrix]
    value = 1.0
    for i in range(len(rows)):
        pivot = max(range(i, len(rows)), key=lambda r: abs(rows[r][i]))
        if rows[pivot][i] == 0:
            return 0.0
        if pivot != i:
            rows[i], rows[pivot], value = rows[pivot], rows[i], -value
        value *= rows[i][i]
        for r in range(i + 1, len(rows)):
            factor = rows[r][i] / rows[i][i]
            rows[r] = [x - factor * y for x, y in zip(rows[r], rows[i], strict=True)]
    return value


def dpp(S: Matrix, quality: list[float], count: int) -> list[int]:
    """Each pick makes the determinant of the kernel among the picks as large as can be; count <= D."""
    N = len(S)
    kernel = [[quality[i] * quality[j] * cosine(S[i], S[j]) for j in range(N)] for i in range(N)]
    picked: list[int] = []
    while len(picked) < min(count, N):
        rest = [n for n in range(N) if n not in picked]
        value = {n: determinant([[kernel[i][j] for j in [*picked, n]] for i in [*picked, n]]) for n in rest}
        largest = max(value.values())
        picked.append(max(rest, key=lambda n: (round(value[n] / largest, 7), -n)))
    return picked


def relevance(S: Matrix, T: Matrix) -> list[float]:
    scores = text_similarity(S, T)
    low, high = min(scores), max(scores)
    return [(score - low + 1e-6) / (high - low + 1e-6) if high > low else 1.0 for score in scores]


def dart(S: Matrix, norms: list[float], pivots: int, keep: int) -> list[int]:
    N = len(S)
    order = sorted(range(N), key=lambda n: (-round(norms[n], 9), n))
    kept = order[: min(pivots, keep, N)]
    starts = kept[:]
    share, more = divmod(min(keep, N) - len(starts), len(starts))
    for number, pivot in enumerate(starts):
        rest = sorted((n for n in range(N) if n not in kept), key=lambda n: (round(cosine(S[n], S[pivot]), 9), n))
        kept = kept + rest[: share + (number < more)]
    return sorted(kept)


def nearest(S: Matrix, n: int, targets: list[int]) -> int:
    return max(targets, key=lambda m: (round(cosine(S[n], S[m]), 9), -m))


def visionzip(S: Matrix, attention: list[float], keep: int, contextual: float) -> Groups:
    N = len(S)
    few = int(contextual * keep) if keep < N else 0
    dominant = best(attention, min(keep, N) - few)
    rest = [n for n in range(N) if n not in dominant]
    step = max(1, len(rest) // max(few, 1))
    targets = [rest[i * step] for i in range(few)]
    groups: dict[int, list[int]] = {n: [] for n in [*dominant, *targets]}
    for n in rest:
        if targets and n not in targets:
            groups[nearest(S, n, targets)].append(n)
    return [([n, *groups[n]], [1.0] + [1 / max(1, len(groups[n]))] * len(groups[n])) for n in sorted(groups)]


def vispruner(S: Matrix, attention: list[float], keep: int, important: float) -> list[int]:
    N = len(S)
    order = sorted(range(N), key=lambda n: (-round(attention[n], 9), n))
    first = int(min(keep, N) * important)
    rest, count = order[first:], min(keep, N) - first
    if not count:
        rest = []
    while len(rest) > count:
        drop = min(8, len(rest) - count)
        a, b = rest[::2], rest[1::2]
        closest = {n: max(round(cosine(S[n], S[m]), 6) for m in b) for n in a}
        ranked = sorted(a, key=lambda n: (-closest[n], a.index(n)))
        rest = ranked[drop:] + b
    return sorted(order[:first] + rest)


def prumerge(S: Matrix, attention: list[float], keep: int) -> Groups:
    kept = best(attention, keep)
    total = sum(attention)
    groups: dict[int, list[int]] = {n: [] for n in kept}
    for n in range(len(S)):
        if n not in kept:
            groups[nearest(S, n, kept)].append(n)
    return [([n, *groups[n]], [1.0] + [attention[m] / total for m in groups[n]]) for n in kept]


def weighted(groups: list[list[int]], mass: list[float]) -> Groups:
    return [(group, [mass[n] / sum(mass[m] for m in group) for n in group]) for group in groups]


def token(S: Matrix, group: list[int], mass: list[float]) -> list[float]:
    """The weighted mean of a group."""
    total = sum(mass[n] for n in group)
    return [sum(mass[n] * S[n][d] for n in group) / total for d in range(len(S[0]))]


def join(groups: list[list[int]], after: list[int]) -> list[list[int]]:
    """Groups with number i + 1 joined to number i for every i of ``after``."""
    found: list[list[int]] = []
    for number, group in enumerate(groups):
        if number and number - 1 in after:
            found[-1] = found[-1] + group
        else:
            found.append(group[:])
    return found


def a_tome(S: Matrix, keep: int) -> list[list[int]]:
    groups, mass = [[n] for n in range(len(S))], [1.0] * len(S)
    while len(groups) > keep:
        tokens = [token(S, group, mass) for group in groups]
        pairs = list(range(0, len(groups) - 1, 2))
        similar = sorted(pairs, key=lambda i: (-round(cosine(tokens[i], tokens[i + 1]), 9), i))
        groups = join(groups, similar[: len(groups) - keep])
    return groups


def fastadasp(S: Matrix, keep: int) -> list[list[int]]:
    pairs = sorted(range(len(S) - 1), key=lambda i: (-round(cosine(S[i], S[i + 1]), 9), i))
    return join([[n] for n in range(len(S))], pairs[: max(0, len(S) - keep)])


def iterative_fusion(S: Matrix, mass: list[float], keep: int) -> list[list[int]]:
    groups = [[n] for n in range(len(S))]
    while len(groups) > keep:
        tokens = [token(S, group, mass) for group in groups]
        left = max(keep, len(groups) // 2)
        pairs = sorted(range(len(groups) - 1), key=lambda i: (-round(cosine(tokens[i], tokens[i + 1]), 9), i))
        groups = join(groups, pairs[: len(groups) - left])
    return groups


def threshold_groups(S: Matrix, threshold: float) -> list[list[int]]:
    groups = [[0]]
    for n in range(1, len(S)):
        mean = sum(cosine(S[m], S[n]) for m in groups[-1]) / len(groups[-1])
        if round(mean, 9) >= threshold:
            groups[-1].append(n)
        else:
            groups.append([n])
    return groups


def late_interaction(
    S: Matrix, T: Matrix, choices: list[int], reach: int, weight: float, inverse: bool, centred: bool, smooth: int
) -> list[float]:
    N, D = len(S), len(S[0])
    mean = [sum(s[d] for s in S) / N if centred else 0.0 for d in range(D)]
    F = [[cosine([s[d] - mean[d] for d in range(D)], t) for t in T] for s in S]

    def part(c: int) -> list[float]:
        members = [column for column, choice in enumerate(choices) if choice == c]
        w = []
        for column in members:
            square = sum(max(F[n][column], 0) ** 2 for n in range(N)) / N
            w.append(1 / max(square, 1e-6) if inverse else 1.0)
        found = []
        for n in range(N):
            near = range(max(0, n - reach), min(N, n + reach + 1))
            found.append(sum(x / sum(w) * max(F[m][k] for m in near) for x, k in zip(w, members, strict=True)))
        return found

    scores = part(0)
    if weight and max(choices) > 0:
        said = [part(c) for c in range(1, max(choices) + 1) if c in choices]
        scores = [score + weight * max(row[n] for row in said) for n, score in enumerate(scores)]
    return box(scores, smooth) if smooth else scores
