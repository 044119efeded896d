"""Wording of reports: what activations predict and what was detected, never what a model knows (a check for any page).

`check_page` is for pages, `check_text` for sentences. What a model or a task wrote is quoted, and is not checked; what
this program says of it is, in headings, tables, captions, titles of figures and texts under the pointer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

_IS = r"(?:is|are|was|were|be)"
_ABLE = r"(?:know|believe|want|understand|reali[sz]e|notice|intend|perceive|feel|think)s?"
_WHO = r"(?:models?|organisms?|networks?|bases?|assistants?|LLMs?|it|they|activations?|probes?|chains?)"
FORBIDDEN = re.compile(
    rf"\b{_WHO}(?:\s+(?!the\b)\w+){{0,2}}?\s+(?:{_ABLE}|knew|{_IS}\s+(?:\w+\s+)?aware)\b"
    r"|\baware of\b|\bself-aware\b|\bconscious(?:ness|ly)?\b"
    r"|\bintrospect(?:s|ed|ing|ive|ively|ion)\b"
    r"|\bprov(?:es?|ed|en|ing)\b|\bproofs?\b",
    re.IGNORECASE,
)
ALLOWED = {
    "never what a model knows": "says what reports do not say",
    "introspection/index.html": "the address of a paper",
}
"""Phrases that may stand, word for word, and why."""
QUOTED = {"prompt", "tokens", "text"}
"""Classes of elements that hold what a model or a task wrote."""
SILENT = {"style", "pre", "code"}
"""Elements that hold no sentence of a report."""
SPOKEN = ("title", "aria-label", "data-about", "alt")
"""Attributes that a reader sees or hears."""
VOID = {"meta", "br", "img", "input", "link", "hr", "col"}
CRITERIA = ("accurate", "grounded", "internal", "meta")


class Page(HTMLParser):
    """The text of a page that is not quoted, and the cells of its tables."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.said: list[str] = []
        self.rows: list[list[str]] = []
        self._open: list[tuple[str, bool]] = []
        self._script: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        hidden = tag in SILENT or bool(QUOTED & set((given.get("class") or "").split()))
        if not self._hidden:
            self.said += [given[name] or "" for name in SPOKEN if name in given]
        if tag == "script":
            self._script = given.get("type")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        if tag not in VOID:
            self._open.append((tag, hidden))

    def handle_endtag(self, tag: str) -> None:
        while any(name == tag for name, _ in self._open) and self._open.pop()[0] != tag:
            pass
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "script":
            if self._script == "application/json":
                self.said += strings(json.loads(data))
        elif not self._hidden:
            self.said.append(data)
            if self.rows and self.rows[-1]:
                self.rows[-1][-1] += data

    @property
    def _hidden(self) -> bool:
        return any(hidden for _, hidden in self._open)

    @property
    def text(self) -> str:
        """All of it, in one line."""
        return " ".join(" ".join(self.said).split())


def strings(found: Any) -> Iterator[str]:
    """Every string in JSON values, keys included."""
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict):
        for name, value in found.items():
            yield name
            yield from strings(value)
    elif isinstance(found, list):
        for value in found:
            yield from strings(value)


def overclaims(text: str) -> list[str]:
    """What of a text may not be said, each with some of what stands around it."""
    for phrase in ALLOWED:
        text = text.replace(phrase, " ")
    return [text[max(0, each.start() - 60) : each.end() + 30] for each in FORBIDDEN.finditer(text)]


def check_text(text: str) -> None:
    """Fail where a text says more than was measured."""
    found = overclaims(text)
    assert not found, found


def check_page(html: str) -> Page:
    """Fail where a page says more than was measured; gives what it says."""
    page = Page(html)
    assert len(page.text) > 200, "the page says next to nothing"
    check_text(page.text)
    return page


def check_injection_page(html: str) -> None:
    """Fail where the page of a study under injection does not keep to the words for it, or does not list the four
    criteria apart.
    """
    page = check_page(html)
    assert "signal detection" in page.text
    listed = [row for row in page.rows if row and row[0].strip() in CRITERIA]
    assert tuple(row[0].strip() for row in listed) == CRITERIA
    assert listed[-1][1].strip() == "not tested"
    assert all(row[1].strip() in ("supported", "not supported", "cannot tell", "not tested") for row in listed)
