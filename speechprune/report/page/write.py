"""Stage 5's report.html: what score.json, the figures and the hypotheses say, in one file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import struct
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from speechprune.common.files import Problem, atomic_write
from speechprune.decoding.hypotheses import current_questions, read_hypotheses
from speechprune.report.captions import CAPTIONS, Caption
from speechprune.report.page import RECORDINGS
from speechprune.report.page.explorer import explore
from speechprune.report.page.markup import inline, is_dense
from speechprune.report.page.sample import HOW
from speechprune.report.scores import read_scores
from speechprune.scoring.blocks import Notes, Table
from speechprune.scoring.cloze import compared
from speechprune.scoring.heard import heard_sections
from speechprune.scoring.published import set_title
from speechprune.scoring.results import results_sections
from speechprune.scoring.titles import ways_of

log = logging.getLogger(__name__)

STYLES = ("base.css", "page.css", "explorer.css", "timeline.css")
# One script, in this order.
SCRIPTS = ("base.js", "timeline.js", "player.js", "answers.js", "explorer.js", "address.js", "keys.js")
_IMAGES = {".svg": "image/svg+xml", ".png": "image/png"}
_PNG = b"\x89PNG\r\n\x1a\n"
_HERE = Path(__file__).parent
# Inside <script>, these would end it or start a comment; a JSON string may hold any character as \uXXXX.
_IN_SCRIPT = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


def write_page(exp: str | Path, cuts: str | Path | None = None, recordings: int = RECORDINGS) -> Path:
    """Write ``exp/report.html``; equal inputs give equal bytes.

    Args:
        exp: folder of one model and one set, with score.json. Figures are taken from its folder ``figures``; the page
            does without those that are absent.
        cuts: what was decoded. None: a page without the explorer of single questions.
        recordings: how many recordings the explorer holds.
    Returns:
        the page's path.
    Raises:
        FileNotFoundError, ValueError: no score.json, one of several experiments, or no such cuts.
    """
    exp = Path(exp)
    document = read_scores(exp / "score.json")
    problems: list[Problem] = []
    found = read_hypotheses(exp, problems, current_questions(exp, cuts))
    problems += found.problems(exp)
    for line in [*found.problems(exp), *found.doubts(exp)]:
        log.warning("%s", line)
    ways = ways_of(document)
    rows = compared(found.rows, ways)
    titles = document.get("titles", {})
    explorer = explore(rows, cuts, recordings, titles) if cuts is not None and recordings else None
    errors = [(row["error"], row["id"]) for row in rows if row["error"] is not None]
    results, *others = results_sections(document, errors, [str(problem) for problem in problems])
    html = _template("page.html").render(
        model=document["model"],
        name=set_title(document),
        command=document["command"],
        facts=_facts(document),
        spoken=", ".join(document.get("resynthesised", [])),
        exp=str(exp),
        results=results,
        sections=[*others, *(section for part in ways for section in heard_sections(part, len(ways) > 1))],
        figures=embedded_figures(exp / "figures"),
        explorer=explorer,
        data=None if explorer is None else in_script(explorer.data),
        how=HOW,
        style=_assets(STYLES),
        script=_assets(SCRIPTS if explorer else ()),
        sha256=_sha256,
    )
    with atomic_write(exp / "report.html") as file:
        file.write(html.encode("utf-8", "backslashreplace").decode("utf-8"))
    return exp / "report.html"


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it; ``width`` and ``height`` in pixels, None for SVG."""

    caption: Caption
    source: str
    width: int | None
    height: int | None

    @property
    def wide(self) -> bool:
        """Whether it has several panels side by side, so that half a page is too narrow."""
        return self.width is not None and self.height is not None and self.width > 2 * self.height


def embedded_figures(folder: Path) -> list[Picture]:
    """Each figure in ``folder`` with its file as a data URI: those of ``CAPTIONS`` in their order, others by name.

    Of one figure in several formats SVG is taken before PNG. As the source of an <img>, neither can run a script.
    """
    names = {path.stem for path in folder.glob("*") if path.suffix in _IMAGES and path.is_file()}
    known = [name for name in CAPTIONS if name in names]
    found = []
    for name in [*known, *sorted(names - CAPTIONS.keys())]:
        suffix = next(suffix for suffix in _IMAGES if (folder / f"{name}{suffix}").is_file())
        data = (folder / f"{name}{suffix}").read_bytes()
        size = struct.unpack(">II", data[16:24]) if data.startswith(_PNG) and len(data) > 24 else (None, None)
        caption = CAPTIONS.get(name) or Caption(name.replace("_", " ").capitalize(), "")
        source = f"data:{_IMAGES[suffix]};base64,{base64.b64encode(data).decode()}"
        found.append(Picture(caption, source, *size))
    return found


def _facts(document: dict) -> list[tuple[str, str]]:
    counts = [
        ("Questions", document["questions"]),
        ("Recordings", document.get("recordings")),
        ("Systems", len(document["systems"])),
        ("A guess scores", None if document["chance"] is None else f"{100 * document['chance']:.1f} %"),
    ]
    return [(name, str(count)) for name, count in counts if count is not None]


def in_script(data: dict) -> Markup:
    """JSON that may stand in <script type="application/json">. ValueError for NaN, which JSON does not have."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_IN_SCRIPT))  # noqa: S704 - nothing in it can end the element


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = inline
    environment.tests |= {
        "table": lambda block: isinstance(block, Table),
        "notes": lambda block: isinstance(block, Notes),
        "dense": is_dense,
    }
    return environment.get_template(name)


def _assets(names: tuple[str, ...]) -> Markup:
    return Markup("\n".join((_HERE / name).read_text(encoding="utf-8") for name in names))  # noqa: S704 - our own


def _sha256(text: str) -> str:
    """As a Content-Security-Policy names the one inline style or script that may be used."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
