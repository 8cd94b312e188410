"""Interval charts: measured ratios, how sure they are, and what they are held against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from raymi.charts.canvas import LINE_HEIGHT, WIDTH, colour, drawing, heading, label, text_width
from raymi.charts.markup import Svg, escape, tag
from raymi.charts.plane import Axis, Scale, scale
from raymi.charts.quantities import quantity

_ROW_HEIGHT = 42.0
_MARGIN = 14.0


@dataclass(frozen=True, slots=True)
class Interval:
    """One measured value between its confidence limits."""

    name: str
    """What was measured."""

    low: float
    """Lower limit."""

    value: float
    """The estimate."""

    high: float
    """Upper limit."""


@dataclass(frozen=True, slots=True)
class IntervalChart:
    """Values on one axis, a row each."""

    title: str
    """Above the chart."""

    x: Axis
    """What the values mean."""

    rows: Sequence[Interval]
    """From top to bottom."""

    reference: float | None = None
    """Where a line runs down: a ratio of 1, or the bar to reach."""

    reference_name: str = ""
    """What that line means."""


def interval_chart(chart: IntervalChart) -> Svg:
    """Draw it: a bar from limit to limit, a dot at the value, the numbers at the right."""
    head, top = heading(chart.title, [])
    values = [value for row in chart.rows for value in (row.low, row.value, row.high)]
    if chart.reference is not None:
        values.append(chart.reference)
    along = scale(values, chart.x, start=_MARGIN, end=WIDTH - _MARGIN, to_ticks=True)
    if chart.reference_name:
        top += LINE_HEIGHT
    bottom = top + _ROW_HEIGHT * len(chart.rows)
    body = head + _axis(along, chart, top, bottom)
    for index, row in enumerate(chart.rows):
        body += _row(row, along, chart.x, top + index * _ROW_HEIGHT)
    return drawing(title=chart.title, description=_describe(chart), body=body, height=bottom + 36)


def _axis(along: Scale, chart: IntervalChart, top: float, bottom: float) -> str:
    ticks = along.ticks()
    body = ""
    for value, text in zip(ticks.values, ticks.labels, strict=True):
        x = along(value)
        body += tag("line", x1=x, y1=top, x2=x, y2=bottom, class_="grid")
        middle = min(max(x, text_width(text) / 2), WIDTH - text_width(text) / 2)
        body += label(text, x=middle, y=bottom + 15, anchor="middle")
    body += label(chart.x.label, x=WIDTH - _MARGIN, y=bottom + 32, anchor="end")
    if chart.reference is not None and chart.x.can_show(chart.reference):
        x = along(chart.reference)
        half = text_width(chart.reference_name) / 2
        middle = min(max(x, half), WIDTH - half)
        body += tag("line", x1=x, y1=top, x2=x, y2=bottom, class_="reference")
        body += label(chart.reference_name, x=middle, y=top - 5, anchor="middle")
    return body


def _row(row: Interval, along: Scale, axis: Axis, top: float) -> str:
    numbers = f"{_written(row.value)} ({_written(row.low)} to {_written(row.high)})"
    room = WIDTH - 2 * _MARGIN - text_width(numbers) - 8
    body = label(_shortened(row.name, room), x=_MARGIN, y=top + 15, class_="name")
    body += label(numbers, x=WIDTH - _MARGIN, y=top + 15, class_="halo", anchor="end")
    y = top + 28
    if axis.can_show(row.low) and axis.can_show(row.high):
        low, high = along(row.low), along(row.high)
        body += tag(
            "rect", x=low, y=y - 4, width=max(1.0, high - low), height=8, rx=2,
            class_=f"fill interval {colour(0)}",
        )  # fmt: skip
    if axis.can_show(row.value):
        body += tag("circle", cx=along(row.value), cy=y, r=5, class_=f"fill {colour(0)}")
    return tag("g", tag("title", escape(f"{row.name}: {numbers}")), body)


def _written(value: float) -> str:
    """Ratios near 1 and differences near 0 to the third decimal; large ones to three digits."""
    return f"{value:.3f}" if value == 0.0 or 0.001 <= abs(value) < 10.0 else quantity(value)


def _shortened(text: str, room: float) -> str:
    fitting = max(1, math.floor(room / text_width("x")))
    return text if len(text) <= fitting else text[: fitting - 1] + "…"


def _describe(chart: IntervalChart) -> str:
    rows = "; ".join(
        f"{row.name}: {_written(row.value)}, between {_written(row.low)} and {_written(row.high)}"
        for row in chart.rows
    )
    against = ""
    if chart.reference is not None:
        name = chart.reference_name or "reference"
        against = f" {name} at {_written(chart.reference)}."
    return f"{chart.x.label}. {rows}.{against}"
