"""mkdocs hooks: pages of the site that stand outside docs/, and links that lead to files of the repository."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
REPORT = "egs/mini_sir/exp/mini/test/report.html"  # what `make demo` ends with
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)#\s]+)")
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def pages() -> dict[str, str]:
    """{file of the repository: page of the site}: what is published of it beside docs/."""
    found = {"README.md": "index.md", "AGENTS.md": "AGENTS.md", "CONTRIBUTING.md": "CONTRIBUTING.md"}
    found |= {path: f"results/{path.split('/')[1]}.md" for path in _tracked("egs/*/RESULTS.md")}
    found |= {path: f"figures/{path.split('/')[1]}/{Path(path).name}" for path in _tracked("egs/*/figures/*.png")}
    return found


def _tracked(pattern: str) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path, uri in pages().items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    files.append(File.generated(config, "results/index.md", content=_results()))
    files.append(File.generated(config, "gallery.md", content=_gallery()))
    if (ROOT / REPORT).is_file():
        files.append(File.generated(config, "report.html", abs_src_path=str(ROOT / REPORT)))
    return files


def _results() -> str:
    """Where the numbers of this site come from."""
    lines = [
        "# Results",
        "Every number stands in a RESULTS.md that stage 4 wrote; each page begins with its command.",
        "",
    ]
    lines += [f"- [{Path(uri).stem}]({Path(uri).name})" for uri in pages().values() if uri.startswith("results/")]
    return "\n".join(lines) + "\n"


def _gallery() -> str:
    lines = ["# Gallery", "Drawn by stage 5 from the scores beside them."]
    if (ROOT / REPORT).is_file():
        about = "tables, figures, single questions to look at and to listen to"
        lines.append(f"[The page of mini_sir](report.html): {about}.")
    for uri in pages().values():
        if uri.startswith("figures/"):
            _, recipe, name = uri.split("/")
            lines.append(f"## {recipe}: {Path(name).stem.replace('_', ' ')}\n\n![{Path(name).stem}]({uri})")
    return "\n\n".join(lines) + "\n"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links between files of the repository become links between pages; other files come along."""
    uri = page.file.src_uri
    sources = {site: path for path, site in pages().items()}
    source = sources.get(uri, f"docs/{uri}")

    def rewritten(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        return posixpath.relpath(_site_of(target, config, files), posixpath.dirname(uri) or ".")

    if uri in ("gallery.md", "results/index.md"):  # written for the site
        return markdown
    return "".join(part if part.startswith("```") else _LINK.sub(rewritten, part) for part in _FENCE.split(markdown))


def _site_of(path: str, config: MkDocsConfig, files: Files) -> str:
    """The place of a file of the repository; what is no page is copied to files/."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path in pages():
        return pages()[path]
    uri = f"files/{path}"
    if (ROOT / path).is_file() and files.get_file_from_path(uri) is None:
        uri = uri + ".txt" if path.endswith(".md") else uri
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    return uri
