"""The paper's Fig. 2: t-SNE of one recording's audio tokens and its question's text tokens, kept and pruned."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from lhotse import MonoCut
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from speechprune.common.files import Problem
from speechprune.common.reading import read_json
from speechprune.decoding.choosing import evidence_mask
from speechprune.decoding.hypotheses import current_questions, read_hypotheses, replaced_audio, unpack_tokens
from speechprune.decoding.modes import CLOZE, folder_name, way_of
from speechprune.features.dump import check_model, load_states, read_dump
from speechprune.models import SpeechLLM
from speechprune.prompts import QUERIES, query_text
from speechprune.report.figures import RC, add_legend, save
from speechprune.scoring.cloze import measured_ways
from speechprune.scoring.titles import read_titles, title

log = logging.getLogger(__name__)

COMPARED = ("rap", "speechprune")  # the panels
MAX_TOKENS = 3000  # audio tokens drawn: time and ink grow with them
PERPLEXITY = 30.0
SPEECH, EVIDENCE, TEXT, PRUNED = "#0072B2", "#D55E00", "#000000", "#BDBDBD"


@dataclass(frozen=True)
class Panel:
    """What one system keeps of the N audio tokens.

    Attributes:
        title: of the system.
        rate: as in the hypotheses.
        kept: (N,) bool.
        right: whether its answer is the right one.
    """

    title: str
    rate: float
    kept: np.ndarray
    right: bool


@dataclass(frozen=True)
class Scene:
    """One question and its recording, as the model embeds them.

    Attributes:
        question: its id.
        audio: (N, D) float32, audio tokens after the projector.
        text: (L, D) float32, the tokens of the text that the pruners compare the audio with.
        evidence: (N,) bool, tokens of the key sentence.
        panels: one a system.
    """

    question: str
    audio: np.ndarray
    text: np.ndarray
    evidence: np.ndarray
    panels: list[Panel]

    @property
    def drawn(self) -> np.ndarray:
        """(n,) int64 ascending: which audio tokens are drawn, evenly spaced where there are more than MAX_TOKENS."""
        total = len(self.audio)
        return np.linspace(0, total - 1, min(total, MAX_TOKENS)).round().astype(np.int64)

    def heading(self, panel: Panel) -> str:
        """What the panel's system keeps of all tokens, drawn or not, and what comes of it."""
        sentence = ""
        if self.evidence.any():
            sentence = f", {(panel.kept & self.evidence).sum()} of {self.evidence.sum()} of the key sentence"
        counts = f"keeps {panel.kept.sum():,} of {len(panel.kept):,} tokens{sentence}"
        return f"{panel.title}: {'right' if panel.right else 'wrong'} answer\n{counts}"


def draw_embeddings(exp: Path, dump: Path, model: SpeechLLM, out: Path) -> list[Path]:
    """Write ``embedding.{png,pdf}`` into ``out`` (made if absent).

    The question is the first by id with a known key sentence that Original answers wrongly and SpeechPrune rightly,
    at the middle rate that SpeechPrune and RAP share; if there is none, the first with a key sentence, then the first.

    Args:
        exp: folder of one model and one set, whose rows say which tokens each system kept.
        dump: the audio tokens that were decoded (stage 2).
        model: the model of both.
    Returns:
        the files; none where the rows have no question that both systems answered.
    Raises:
        FileNotFoundError: no dump there.
        ValueError: dump or rows of another model, rows that do not say what was kept or that do not fit the dump.
    """
    scene = read_scene(Path(exp), Path(dump), model)
    figure = None if scene is None else embedding_figure(scene, embed(scene))
    Path(out).mkdir(parents=True, exist_ok=True)
    return save(figure, Path(out), "embedding")


def read_scene(exp: Path, dump: Path, model: SpeechLLM) -> Scene | None:
    """What is drawn; None where no question has an answer of both systems. Errors as ``draw_embeddings``."""
    problems: list[Problem] = []
    cuts = {cut.id: cut for cut in read_dump(dump, problems)}
    check_model(dump, model)
    rows = read_hypotheses(exp, problems, current_questions(exp)).rows
    ways = measured_ways(rows, replaced_audio(exp, CLOZE))
    found = choose_question(next((part for part, _ in ways.values()), []))
    for problem in problems:
        log.warning("%s", problem)
    if found is None:
        return None
    row = found[-1]  # SpeechPrune's: RAP makes no use of the text
    query = _query_of(exp, row, model)
    cut, question = _asked(cuts, row, dump)
    states = load_states(cut)
    titles = read_titles(exp)
    panels = [Panel(title(r["system"], titles), r["rate"], _kept(r, len(states), exp), _right(r)) for r in found]
    spans = question.get("evidence") or []
    return Scene(
        question=row["id"],
        audio=model.project(torch.from_numpy(states)).cpu().numpy(),
        text=model.embed_text(query_text(question["question"], question.get("choices") or [], query)).cpu().numpy(),
        evidence=evidence_mask(spans, len(states), model.frame_rate).numpy(),
        panels=panels,
    )


def choose_question(rows: list[dict]) -> list[dict] | None:
    """One question's rows of the systems in ``COMPARED``; None where they answered no question at a common rate.

    Args:
        rows: of one experiment. Of rotated choices the unrotated ones count.
    """
    answered = [row for row in rows if row["error"] is None and not row.get("rotation")]
    rates = [{row["rate"] for row in answered if row["system"] == name} - {None} for name in COMPARED]
    shared = sorted(set.intersection(*rates))
    if not shared:
        return None
    rate = shared[(len(shared) - 1) // 2]
    theirs, mine = (
        {row["id"]: row for row in answered if (row["system"], row["rate"]) == (name, rate)} for name in COMPARED
    )
    original = {row["id"]: row for row in answered if row["system"] == "original"}

    def rank(name: str) -> int:
        if mine[name]["evidence_recall"] is None:
            return 2
        gained = name in original and not _right(original[name]) and _right(mine[name])
        return 0 if gained else 1

    chosen = min(sorted(mine.keys() & theirs.keys()), key=rank, default=None)  # of equals, the first
    return None if chosen is None else [theirs[chosen], mine[chosen]]


def embed(scene: Scene) -> np.ndarray:
    """t-SNE of the drawn audio tokens, then of the text tokens: (n + L, 2) float32, the same on every call.

    Distances are cosine, as eq. 4 compares tokens. One thread: sums in another order would move the points.
    """
    points = np.concatenate([scene.audio[scene.drawn], scene.text])
    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)  # its usual bound
    tsne = TSNE(metric="cosine", init="pca", perplexity=perplexity, random_state=0, n_jobs=1)
    with threadpool_limits(1):
        return tsne.fit_transform(points)


def embedding_figure(scene: Scene, points: np.ndarray) -> Figure:
    """One axes per system, all with the same points.

    Args:
        points: (n + L, 2) of ``embed``.
    """
    drawn = scene.drawn
    audio, text = points[: len(drawn)], points[len(drawn) :]
    evidence = scene.evidence[drawn]
    with matplotlib.rc_context(RC | {"axes.spines.left": False, "axes.spines.bottom": False}):
        figure = Figure(figsize=(2.1 + 4.3 * len(scene.panels), 4.9), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, panel in zip(figure.subplots(1, len(scene.panels), squeeze=False)[0], scene.panels, strict=True):
            kept = panel.kept[drawn]
            _scatter(axes, audio[~kept & ~evidence], "Pruned", c=PRUNED, s=5, linewidths=0, zorder=1)
            _scatter(axes, audio[kept & ~evidence], "Kept", c=SPEECH, s=11, linewidths=0, zorder=2)
            pruned = {"facecolors": "white", "edgecolors": EVIDENCE, "linewidths": 0.9, "zorder": 3}
            _scatter(axes, audio[~kept & evidence], "Key sentence, pruned", marker="^", s=26, **pruned)
            _scatter(
                axes,
                audio[kept & evidence],
                "Key sentence, kept",
                marker="^",
                c=EVIDENCE,
                s=30,
                linewidths=0.9,
                zorder=4,
            )
            _scatter(axes, text, "Query text", marker="+", c=TEXT, s=60, linewidths=1.3, zorder=5)
            axes.set_title(scene.heading(panel))
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_aspect("equal", adjustable="datalim")
        of_all = (
            "" if len(drawn) == len(scene.audio) else f", {len(drawn):,} of {len(scene.audio):,} audio tokens drawn"
        )
        heading = f"{scene.question}, pruning rate {scene.panels[0].rate:g}{of_all}"
        figure.suptitle(heading, fontsize=11, parse_math=False)  # ids are text, whatever they hold
        add_legend(figure)
    return figure


def _scatter(axes: Axes, points: np.ndarray, name: str, **style) -> None:
    if len(points):
        axes.scatter(points[:, 0], points[:, 1], label=name, **style)


def _right(row: dict) -> bool:
    return row["prediction"] == row["answer"]


def _query_of(exp: Path, row: dict, model: SpeechLLM) -> str:
    """The query option of the row's system; ValueError where its rows are not ``model``'s."""
    path = exp / folder_name(row["system"], row["rate"], way_of(row.get("mode", ""))) / "config.json"
    try:
        config = read_json(path)
        query, fingerprint = config["query"], config["fingerprint"]
        if query not in QUERIES:
            raise ValueError(f"query {query!r}")
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} does not say how the system was asked ({error}); run stage 3 (decode) again"
        ) from error
    if fingerprint != model.fingerprint:
        raise ValueError(
            f"{exp} holds rows of {config.get('model')} ({fingerprint}), not of {model.name} ({model.fingerprint}); "
            "give the model that was decoded"
        )
    return query


def _asked(cuts: dict[str, MonoCut], row: dict, dump: Path) -> tuple[MonoCut, dict]:
    """The row's recording and question; ValueError where the dump does not have them."""
    cut = cuts.get(row.get("recording", ""))
    questions = [] if cut is None else cut.custom.get("questions") or []
    question = next((question for question in questions if question.get("id") == row["id"]), None)
    if question is None:
        raise ValueError(f"{dump} does not have the question {row['id']}; give the dump that was decoded")
    return cut, question


def _kept(row: dict, total: int, exp: Path) -> np.ndarray:
    """(total,) bool: what the row's system kept; ValueError where the row does not say, or is about another number."""
    folder = exp / folder_name(row["system"], row["rate"], way_of(row.get("mode", "")))
    if row.get("kept") is None:
        raise ValueError(
            f"{folder}: the row of {row['id']} does not say which tokens were kept, as rows of earlier versions; "
            f"remove the folder (rm -r {folder}) and run stage 3 (decode) again"
        )
    if row.get("total_tokens") != total:
        raise ValueError(
            f"{folder}: the row of {row['id']} is about {row.get('total_tokens')} audio tokens, the dump has {total}; "
            "give the dump that was decoded"
        )
    kept = np.zeros(total, dtype=bool)
    kept[unpack_tokens(row["kept"], total)] = True
    return kept
