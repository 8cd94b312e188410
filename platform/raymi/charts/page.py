"""A page that is one file: tiles, charts, tables and text, readable anywhere and for ever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raymi.charts.markup import Svg, escape, tag
from raymi.charts.theme import stylesheet

# No script, no request, whatever text from elsewhere might try.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@dataclass(frozen=True, slots=True)
class Tile:
    """One number that matters."""

    name: str
    """What it is."""

    value: str | None
    """With its unit; None when it is not known."""

    note: str = ""
    """Small print: how it was measured, or why it is not known."""

    is_alarm: bool = False
    """Whether it says that something went wrong."""


@dataclass(frozen=True, slots=True)
class Prose:
    """A paragraph."""

    text: str
    """Plain."""


@dataclass(frozen=True, slots=True)
class Charts:
    """Drawings side by side, or below each other on a narrow screen."""

    drawings: Sequence[Svg]
    """From `line_chart` and its kin."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text."""

    columns: Sequence[str]
    """Headings."""

    rows: Sequence[Sequence[str]]
    """As many cells in each as there are headings."""

    numbers: frozenset[int] = frozenset()
    """Indexes of columns of numbers, which are aligned to the right."""

    caption: str = ""
    """Above the table."""


@dataclass(frozen=True, slots=True)
class Details:
    """Text that is folded away until asked for."""

    summary: str
    """What it is."""

    text: str
    """Shown as it is, line by line."""


Block = Prose | Charts | Table | Details


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what is below it."""

    title: str
    """The heading."""

    blocks: Sequence[Block]
    """From top to bottom."""


@dataclass(frozen=True, slots=True)
class Page:
    """Everything on it."""

    title: str
    """Heading and window title."""

    subtitle: str = ""
    """A line below."""

    tiles: Sequence[Tile] = ()
    """What matters most."""

    sections: Sequence[Section] = ()
    """The rest."""

    lead: str = ""
    """What it all comes to, in a sentence or two between title and subtitle."""


def render(page: Page) -> str:
    """The page as HTML that is well-formed XML too. All text is escaped."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", escape(page.title)),
        tag("style", stylesheet()),
    )
    body = tag("h1", escape(page.title))
    if page.lead:
        body += tag("p", escape(page.lead), class_="lead")
    if page.subtitle:
        body += tag("p", escape(page.subtitle), class_="soft")
    if page.tiles:
        body += tag("div", *map(_tile, page.tiles), class_="tiles")
    for section in page.sections:
        blocks = "".join(_block(block) for block in section.blocks)
        body += tag("section", tag("h2", escape(section.title)), blocks)
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', tag('main', body)), lang='en')}\n"


def _tile(tile: Tile) -> str:
    class_ = "absent" if tile.value is None else "alarm" if tile.is_alarm else None
    if tile.value is None:
        value = escape(tile.note or "not known")
    else:
        value = escape(tile.value)
        value += tag("div", escape(tile.note), class_="note") if tile.note else ""
    return tag("dl", tag("dt", escape(tile.name)), tag("dd", value, class_=class_), class_="tile")


def _block(block: Block) -> str:
    match block:
        case Prose(text):
            return tag("p", escape(text))
        case Charts(drawings):
            return tag("div", *(tag("div", drawing) for drawing in drawings), class_="charts")
        case Details(summary, text):
            return tag("details", tag("summary", escape(summary)), tag("pre", escape(text)))
        case Table():
            return _table(block)


def _table(table: Table) -> str:
    def cell(name: str, index: int, text: str) -> str:
        scope = "col" if name == "th" else None
        class_ = "number" if index in table.numbers else None
        return tag(name, escape(text), scope=scope, class_=class_)

    def row(name: str, texts: Sequence[str]) -> str:
        return tag("tr", *(cell(name, index, text) for index, text in enumerate(texts)))

    caption = tag("caption", escape(table.caption)) if table.caption else ""
    rows = "".join(row("td", texts) for texts in table.rows)
    head = tag("thead", row("th", table.columns))
    return tag("div", tag("table", caption, head, tag("tbody", rows)), class_="wide")
