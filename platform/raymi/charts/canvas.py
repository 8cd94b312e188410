"""The sheet every chart is drawn on: title, legend, description, one size."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from raymi.charts.markup import Svg, escape, tag

WIDTH = 440
"""Units of the drawing. Narrow, so that labels are still readable on a telephone."""

PLOT_HEIGHT = 170
"""Units between the lowest and the highest value."""

NUM_COLOURS = 8
LINE_HEIGHT = 16.0
_TITLE_HEIGHT = 26.0
_CHARACTER_WIDTH = 6.6
"""Of the 12-unit type; wider than most characters, so that what is said to fit does."""

_DASHES = (None, "7 3", "2 3", "9 3 2 3")
"""Lines differ by more than their colour."""


@dataclass(frozen=True, slots=True)
class LegendItem:
    """One line of the legend."""

    name: str
    """What it stands for."""

    sign: str
    """Markup of a sign 22 wide and 10 high."""


def colour(index: int) -> str:
    """CSS class of the colour of the series with this index; colours come round again."""
    return f"c{index % NUM_COLOURS}"


def dash(index: int) -> str | None:
    """Dash pattern of the series with this index."""
    return _DASHES[index % len(_DASHES)]


def line_sign(index: int) -> str:
    """A piece of a series' line, for the legend."""
    return tag(
        "line",
        x1=0,
        y1=5,
        x2=20,
        y2=5,
        class_=f"line {colour(index)}",
        stroke_dasharray=dash(index),
    )


def text_width(text: str) -> float:
    """About how wide a label is."""
    return len(text) * _CHARACTER_WIDTH


def label(text: str, *, x: float, y: float, class_: str = "", anchor: str | None = None) -> str:
    """A piece of text; `anchor` is `middle` or `end` where it is not `start`."""
    return tag("text", escape(text), x=x, y=y, class_=class_ or None, text_anchor=anchor)


def heading(title: str, legend: Sequence[LegendItem]) -> tuple[str, float]:
    """Title and legend; returns their markup and where the drawing below may begin."""
    parts = [label(title, x=0, y=14, class_="title")]
    x, y = 0.0, _TITLE_HEIGHT
    for item in legend:
        width = 26 + text_width(item.name) + 12
        if x > 0 and x + width > WIDTH:
            x, y = 0.0, y + LINE_HEIGHT
        parts += [
            tag("g", item.sign, transform=f"translate({x:.1f} {y:.1f})"),
            label(item.name, x=x + 26, y=y + 9),
        ]
        x += width
    return "".join(parts), y + LINE_HEIGHT if legend else y


def drawing(*, title: str, description: str, body: str, height: float) -> Svg:
    """The finished chart: as wide as its container, with a description for screen readers."""
    digest = hashlib.sha256(body.encode()).hexdigest()[:8]
    return Svg(
        tag(
            "svg",
            tag("title", escape(title), id=f"t{digest}"),
            tag("desc", escape(description), id=f"d{digest}"),
            body,
            xmlns="http://www.w3.org/2000/svg",
            class_="chart",
            role="img",
            viewBox=f"0 0 {WIDTH} {math.ceil(height)}",
            aria_labelledby=f"t{digest} d{digest}",
        )
    )
