"""A page, read: its tags, texts and commands, and whether it needs anything but itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """A parsed page: (tag, attributes) in order, its text by tag, and whether every tag was closed."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        for tag in self.open[-1:]:
            self.texts.setdefault(tag, []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def commands(self) -> list[str]:
        blocks = re.findall(r'<pre class="command"><code>(.*?)</code>', self.source, re.DOTALL)
        return [re.sub("<[^>]+>", "", block).replace("&#39;", "'") for block in blocks]


def self_contained(page: Page) -> None:
    allowed = {"src": "data:", "href": "#", "xlink:href": "#", "srcset": "data:", "action": "never"}
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form", "video", "audio"}
        for name, value in attributes.items():
            assert name not in allowed or str(value).startswith(allowed[name]), f"<{tag} {name}={value!r}>"
            assert not name.startswith("on")
            if name == "style":
                assert not re.search(r"url\((?!#)", str(value))
    style = "".join(page.texts["style"])
    assert "url(" not in style and "@import" not in style
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'") and "script-src" not in policy
    assert page.open == []
