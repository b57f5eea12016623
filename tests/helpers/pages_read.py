"""report.html as a file: its tags, its words and its data."""

from __future__ import annotations

import json
from html.parser import HTMLParser


class Page(HTMLParser):
    """Tags with their attributes, the text of scripts by id, and all other text."""

    def __init__(self, path):
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.tags, self.scripts, self.words, self.inside = [], {}, [], None
        self.feed(self.html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = (tag, dict(attrs).get("id")) if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, text):
        if self.inside is None:
            self.words.append(text)
        else:
            self.scripts[self.inside] = text

    @property
    def data(self) -> dict:
        return json.loads(self.scripts["script", "data"])
