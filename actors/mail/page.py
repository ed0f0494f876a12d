"""The HTML of a mail: the lines that a person sees, and the JSON-LD and microdata that programs see."""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

MAX_TAGS = 200_000  # and texts between them
MAX_DEPTH = 500
MAX_SCRIPT = 1_000_000  # characters
MAX_NAMES = 10  # of properties that one tag is
MAX_UNFINISHED = 2_000  # characters, see below

_HIDDEN = {"script", "style", "head", "title", "template", "noscript", "svg"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_BREAKS = {
    "p",
    "div",
    "tr",
    "br",
    "li",
    "ul",
    "ol",
    "table",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "section",
    "pre",
}
_CELLS = {"td", "th", "dt", "dd"}
_SUPPRESSED = re.compile(
    r"(?i)display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d])|mso-hide\s*:\s*all"
)
_SPACES = re.compile(r"\s+")
_VALUES = ("content", "href", "src", "datetime", "value")

Item = dict[str, Any]  # schema.org, as JSON-LD has it; "@type" and properties


@dataclass
class Page:
    lines: list[str] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)


def read_page(html: str) -> Page:
    reader = _Reader()
    reader.feed(html)
    # A tag or a comment that the end cuts off. close() looks for its end again from each `<` within it.
    reader.rawdata = reader.rawdata[:MAX_UNFINISHED]
    reader.close()
    return reader.page()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[tuple[str, bool, Item | None, str | None]] = []  # tag, hidden, its item, its property
        self._names: Counter[str] = Counter()  # of the open ones
        self._hidden = 0  # of the open ones
        self._text: list[str] = []
        self._script: list[str] | None = None
        self._items: list[Item] = []
        self._tags = 0

    def updatepos(self, i: int, j: int) -> int:
        """Nobody asks in which line a tag stands, and to count them is a tenth of the work."""
        return j

    def _count(self) -> None:
        self._tags += 1
        if self._tags > MAX_TAGS or len(self._open) > MAX_DEPTH:
            raise RecursionError("too many tags")

    def _opens(self, tag: str, hidden: bool, item: Item | None, name: str | None) -> None:
        if tag not in _VOID:
            self._open.append((tag, hidden, item, name))
            self._names[tag] += 1
            self._hidden += hidden

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._count()
        self._break_before(tag)
        if not attributes and tag not in _HIDDEN:
            self._opens(tag, False, None, None)
            return
        given = {name: value or "" for name, value in attributes}
        if tag == "script" and given.get("type", "").strip().lower() == "application/ld+json":
            self._script = []
        hidden = tag in _HIDDEN or "hidden" in given or ("style" in given and bool(_SUPPRESSED.search(given["style"])))
        item, name = self._property(given)
        self._opens(tag, hidden, item, name)

    def _break_before(self, tag: str) -> None:
        if tag in _BREAKS:
            self._text.append("\n")
        elif tag in _CELLS:
            self._text.append("\t")

    def _property(self, given: dict[str, str]) -> tuple[Item | None, str | None]:
        """The item that this tag opens, and the property that its text will be."""
        if "itemscope" not in given and "itemprop" not in given:
            return None, None
        around = next((item for _, _, item, _ in reversed(self._open) if item is not None), None)
        name = given.get("itemprop", "").strip()
        item: Item | None = None
        if "itemscope" in given:
            item = {"@type": given.get("itemtype", "").rstrip("/").rpartition("/")[2]}
            if around is not None and name:
                _add(around, name, item)
            else:
                self._items.append(item)
            return item, None
        if not name or around is None:
            return None, None
        for attribute in _VALUES:
            if attribute in given:
                _add(around, name, given[attribute])
                return None, None
        return None, name

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._script is not None:
            self._items += _json_items("".join(self._script))
            self._script = None
        while self._names[tag]:
            closed, hidden, _, _ = self._open.pop()
            self._names[closed] -= 1
            self._hidden -= hidden
            if closed == tag:
                break
        if tag in _BREAKS:
            self._text.append("\n")

    def handle_data(self, data: str) -> None:
        self._count()
        if self._script is not None:
            if sum(map(len, self._script)) < MAX_SCRIPT:
                self._script.append(data)
            return
        for _, _, _, name in reversed(self._open[-3:]):
            if name and data.strip():
                item = next(item for _, _, item, _ in reversed(self._open) if item is not None)
                _add(item, name, data.strip())
                break
        if not self._hidden:
            self._text.append(_SPACES.sub(" ", data))

    def page(self) -> Page:
        lines = map(_tidy, "".join(self._text).split("\n"))
        return Page([line for line in lines if line], self._items)


def _tidy(line: str) -> str:
    """One blank between words, one tab between cells. By splitting: a pattern would try each of many blanks anew."""
    cells = (" ".join(cell.split()) for cell in line.split("\t"))
    return "\t".join(cell for cell in cells if cell)


def _add(item: Item, name: str, value: Any) -> None:
    """A property that comes twice is a list."""
    for one in name.split(maxsplit=MAX_NAMES)[:MAX_NAMES]:
        if one not in item:
            item[one] = value
        elif isinstance(item[one], list):
            item[one].append(value)
        else:
            item[one] = [item[one], value]


def _json_items(written: str) -> list[Item]:
    """Whatever objects stand there, those inside arrays and @graph too."""
    try:
        found = json.loads(written.strip().removeprefix("<!--").removesuffix("-->"))
    except (ValueError, RecursionError):
        return []
    return list(_objects(found))


def _objects(found: Any, depth: int = 0) -> list[Item]:
    if depth > 5:
        return []
    if isinstance(found, list):
        return [item for one in found[:1000] for item in _objects(one, depth + 1)]
    if not isinstance(found, dict):
        return []
    return [found, *_objects(found.get("@graph", []), depth + 1)]
