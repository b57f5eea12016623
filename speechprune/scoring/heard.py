"""What the systems heard of the recordings, as a section of the page."""

from __future__ import annotations

from speechprune.scoring.blocks import Notes, Section, Table, Text
from speechprune.scoring.cells import percent, rate_text
from speechprune.scoring.titles import by_mark, title


def heard_sections(document: dict, several: bool = False) -> list[Section]:
    """The section, or none where no row knows how long its recording is.

    Args:
        document: of one way to answer; several: whether it is one of several.
    """
    rows = []
    for system in document["systems"]:
        if (found := system.get("seconds")) is None:
            continue
        parts = (percent(found[part] / found["recordings"]) for part in ("heard", "dropped", "truncated"))
        cells = (title(system["system"], document.get("titles")), rate_text(system["rate"]))
        rows.append((*cells, f"{found['recordings']:.1f}", *parts, str(system["unparsed"]), str(system["errors"])))
    if not rows:
        return []
    header = ("System", "PR", "Seconds", "Heard %", "Dropped %", "Truncated %", "Unparsed", "Errors")
    notes: list[Text] = [
        "Seconds: of the recordings, each once for every question (and rotation) that was answered.",
        "Heard: whose audio tokens were read. Dropped: left out by the pruner, or by the control. Truncated: beyond "
        "the model's ordinary input, where a system without a rate stops.",
    ]
    mark = by_mark(document, several)
    return [Section(f"Seconds heard{mark}", f"Heard{mark}", [Table(header, rows), Notes(notes)])]
