"""A bar of what each phase of a sweep spent, with the limits beside it."""

from __future__ import annotations

from raymi.charts.canvas import (
    WIDTH,
    LegendItem,
    colour,
    drawing,
    heading,
    label,
    text_width,
)
from raymi.charts.markup import Svg, escape, tag
from raymi.charts.plane import Axis, Scale, scale
from raymi.sweep.view.spending import Books

_MARGIN = 14.0
_HEIGHT = 26.0
_LINE_ROOM = 18.0


def budget_bar(books: Books) -> Svg:
    """Draw it: phases one after the other, lines where the reserve begins and the budget ends."""
    legend = [
        LegendItem(name, tag("rect", x=0, y=0, width=20, height=10, class_=f"fill {colour(i)}"))
        for i, name in enumerate(books.phases)
    ]
    head, top = heading("Accelerator-seconds by phase", legend)
    lines = [
        (f"{books.limits.reserve:.0%} kept for confirmation", books.open_limit_s),
        ("budget", books.limits.accelerator_s),
    ]
    limits = [(name, at) for name, at in lines if at is not None]
    if not books.limits.reserve:
        limits = limits[1:]
    ends = [0.0, books.spent_s, *(at for _, at in limits)]
    axis = Axis("accelerator-s", includes_zero=True)
    along = scale(ends, axis, start=_MARGIN, end=WIDTH - _MARGIN, to_ticks=True)
    upper = top + 6 + _LINE_ROOM * len(limits)
    body = head + _ticks(along, axis, upper, upper + _HEIGHT + 8) + _bar(books, along, upper)
    for row, (name, at) in enumerate(limits):
        body += _limit(name, along(at), top + 6 + _LINE_ROOM * row, upper + _HEIGHT + 8)
    return drawing(
        title="Accelerator-seconds by phase",
        description=_describe(books),
        body=body,
        height=upper + _HEIGHT + 44,
    )


def _bar(books: Books, along: Scale, upper: float) -> str:
    body, begin_s = "", 0.0
    for index, (name, seconds) in enumerate(books.phases.items()):
        left, right = along(begin_s), along(begin_s + seconds)
        begin_s += seconds
        if seconds <= 0.0:
            continue
        title = tag("title", escape(f"{name}: {seconds:,.1f} accelerator-s"))
        body += tag(
            "rect", title, x=left, y=upper + 4, width=max(1.0, right - left - 1.0),
            height=_HEIGHT - 4, class_=f"fill {colour(index)}",
        )  # fmt: skip
    return body


def _ticks(along: Scale, axis: Axis, upper: float, lower: float) -> str:
    ticks = along.ticks()
    body = ""
    for value, text in zip(ticks.values, ticks.labels, strict=True):
        x = along(value)
        body += tag("line", x1=x, y1=upper, x2=x, y2=lower, class_="grid")
        half = text_width(text) / 2
        body += label(text, x=min(max(x, half), WIDTH - half), y=lower + 13, anchor="middle")
    return body + label(axis.label, x=WIDTH - _MARGIN, y=lower + 29, anchor="end")


def _limit(name: str, x: float, upper: float, lower: float) -> str:
    """A line down, with its name on the side where there is room."""
    line = tag("line", x1=x, y1=upper, x2=x, y2=lower, class_="reference")
    if x + 5 + text_width(name) <= WIDTH:
        return line + label(name, x=x + 5, y=upper + 10)
    return line + label(name, x=x - 5, y=upper + 10, anchor="end")


def _describe(books: Books) -> str:
    phases = "; ".join(f"{name}: {seconds:,.1f}" for name, seconds in books.phases.items())
    limit_s = books.limits.accelerator_s
    limit = "no limit" if limit_s is None else f"limit {limit_s:,.1f}"
    return f"Accelerator-seconds. {phases}; {limit}."
