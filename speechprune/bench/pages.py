"""docs/performance.md: what one command wrote, and a section about GPUs that another may have written elsewhere."""

from __future__ import annotations

from pathlib import Path

from speechprune.common.files import atomic_write

GPU = "On a GPU"
BEGIN, END = "<!-- make gpu writes what stands between these two lines -->", "<!-- end of what make gpu writes -->"
SKIPPED = (
    "**Skipped: no GPU: torch finds no CUDA device here, and a 7B prefill on a CPU would say nothing about one.** "
    "Where one is at hand, `make gpu` measures and writes this section, in under ten minutes and with nothing but "
    "torch and transformers."
)


def gpu_section(page: Path) -> str:
    """What a page says about GPUs; where it says nothing yet, that it was skipped."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    _, begun, after = text.partition(BEGIN)
    return after.partition(END)[0].strip() if begun else SKIPPED


def marked(section: str) -> str:
    """The section with its heading, to be found again."""
    return f"## {GPU}\n\n{BEGIN}\n\n{section}\n\n{END}"


def put_section(page: Path, section: str) -> None:
    """Write the section into a page in place of the one that is there, or behind all else; nothing else changes."""
    text = page.read_text(encoding="utf-8") if page.is_file() else "# Performance\n"
    before, begun, after = text.partition(f"## {GPU}\n")
    rest = after.partition(END)[2].strip() if begun else ""
    parts = [part for part in (before.strip(), marked(section), rest) if part]
    with atomic_write(page) as file:
        file.write("\n\n".join(parts) + "\n")
