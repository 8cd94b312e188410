"""Two axes and what lies on them: values to positions, grid, tick labels, vertical markers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from raymi.charts.canvas import PLOT_HEIGHT, WIDTH, LegendItem, label, text_width
from raymi.charts.markup import escape, tag
from raymi.charts.quantities import quantity
from raymi.charts.ticks import Ticks, linear_ticks, log_ticks, nice_range, widened

Point = tuple[float, float]
"""x and y, in the units of the axes. One that is not finite, or not above 0 on a logarithmic
axis, is a gap."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What one direction means."""

    label: str
    """Quantity and unit, such as `step time (ms)`."""

    is_log: bool = False
    """Whether equal distances are equal ratios."""

    includes_zero: bool = False
    """Whether a linear axis starts at 0, so that lengths can be compared."""

    is_whole: bool = False
    """Whether only whole numbers make sense."""

    def can_show(self, value: float) -> bool:
        """Whether the value has a place on this axis."""
        return math.isfinite(value) and (value > 0 or not self.is_log)


@dataclass(frozen=True, slots=True)
class Marker:
    """Something that happened at one place of the x axis."""

    x: float
    """Where."""

    name: str
    """What; markers of one name share an entry in the legend."""

    detail: str = ""
    """Shown when pointed at."""

    is_alarm: bool = False
    """Whether it went wrong: drawn across the plot, with its name where there is room."""


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to positions along one direction."""

    low: float
    """The value at `start`."""

    high: float
    """The value at `end`, above `low`."""

    start: float
    """Position of the lowest value."""

    end: float
    """Position of the highest."""

    is_log: bool
    """Whether equal distances are equal ratios."""

    is_whole: bool = False
    """Whether ticks are whole numbers only."""

    def __call__(self, value: float) -> float:
        """Where a value is; `value` must be one the axis can show."""
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> Ticks:
        """Where this direction has ticks."""
        if self.is_log:
            return log_ticks(self.low, self.high)
        return linear_ticks(
            self.low,
            self.high,
            target=_num_intervals(self.start, self.end),
            whole=self.is_whole,
        )


def scale(
    values: Iterable[float], axis: Axis, *, start: float, end: float, to_ticks: bool
) -> Scale:
    """A scale that covers what the axis can show of `values`; 1 to 10 when that is nothing.

    Args:
        values: To cover.
        axis: What they mean.
        start: Position of the lowest.
        end: Position of the highest.
        to_ticks: Whether a linear scale is widened to its nearest ticks.
    """
    shown = [value for value in values if axis.can_show(value)] or [1.0, 10.0]
    low, high = min(shown), max(shown)
    if axis.is_log:
        if high < low * 1.05:
            low, high = low / 1.5, high * 1.5
        return Scale(low, high, start, end, is_log=True)
    if axis.includes_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if to_ticks:
        low, high = nice_range(low, high, target=_num_intervals(start, end), whole=axis.is_whole)
    elif axis.is_whole and low == high:
        low, high = low - 1.0, high + 1.0
    else:
        low, high = widened(low, high)
    return Scale(low, high, start, end, is_log=False, is_whole=axis.is_whole)


@dataclass(frozen=True, slots=True)
class Plane:
    """A plot area with its axes."""

    x: Scale
    """To the right."""

    y: Scale
    """Upwards: `start` is below `end`."""

    x_label: str
    """Below the plot."""

    y_label: str
    """Above the upper left corner: sideways text is hard to read."""

    is_empty: bool = False
    """Whether there is nothing to show: then scales mean nothing either."""

    @property
    def bottom(self) -> float:
        """Where everything, labels included, ends."""
        return self.y.start + 36

    def axes(self) -> str:
        """Grid, ticks and labels."""
        left, right, bottom = self.x.start, self.x.end, self.y.start
        parts = [label(self.y_label, x=0, y=self.y.end - 9)]
        if self.is_empty:
            middle = (left + right) / 2, (bottom + self.y.end) / 2
            parts.append(tag("line", x1=left, y1=bottom, x2=right, y2=bottom, class_="axis"))
            parts.append(label("no values", x=middle[0], y=middle[1], anchor="middle"))
            return "".join(parts)
        y_ticks, x_ticks = self.y.ticks(), self.x.ticks()
        for value, text in zip(y_ticks.values, y_ticks.labels, strict=True):
            y = self.y(value)
            parts.append(tag("line", x1=left, y1=y, x2=right, y2=y, class_="grid"))
            parts.append(label(text, x=left - 6, y=y + 4, anchor="end"))
        parts.append(tag("line", x1=left, y1=bottom, x2=right, y2=bottom, class_="axis"))
        free = 0.0
        for value, text in zip(x_ticks.values, x_ticks.labels, strict=True):
            x = self.x(value)
            parts.append(tag("line", x1=x, y1=bottom, x2=x, y2=bottom + 4, class_="axis"))
            half = text_width(text) / 2
            centre = min(x, WIDTH - half)
            if centre - half >= free:
                parts.append(label(text, x=centre, y=bottom + 17, anchor="middle"))
                free = centre + half + 4
        parts.append(label(self.x_label, x=right, y=bottom + 33, anchor="end"))
        return "".join(parts)

    def markers(self, markers: Sequence[Marker]) -> str:
        """Lines down from the top of the plot; names only of what went wrong, where they fit."""
        top, bottom = self.y.end, self.y.start
        parts: list[str] = []
        free = self.x.start
        for marker in sorted(markers, key=lambda marker: marker.x):
            if not self.x.low <= marker.x <= self.x.high:
                continue
            x = self.x(marker.x)
            parts.append(
                tag(
                    "g",
                    tag("title", escape(marker.detail or marker.name)),
                    tag("line", x1=x, y1=top, x2=x, y2=bottom),
                    tag("path", d=_sign(x, top - 5, is_alarm=marker.is_alarm)),
                    class_=_marker_class(is_alarm=marker.is_alarm),
                )
            )
            width = text_width(marker.name)
            if not marker.is_alarm:
                continue
            begin = x + 5 if x + 5 + width <= self.x.end else x - 5 - width
            if begin >= free:
                parts.append(label(marker.name, x=begin, y=top + 11, class_="alarm-name"))
                free = begin + width + 6
        return "".join(parts)


def marker_legend(markers: Sequence[Marker]) -> list[LegendItem]:
    """One entry for each name."""
    kinds = {marker.name: marker.is_alarm for marker in markers}
    return [
        LegendItem(
            name,
            tag("path", d=_sign(10, 5, is_alarm=is_alarm), class_=_marker_class(is_alarm=is_alarm)),
        )
        for name, is_alarm in kinds.items()
    ]


def plane(
    points: Sequence[Point],
    axes: tuple[Axis, Axis],
    *,
    top: float,
    padding: float = 0.0,
    markers: Sequence[Marker] = (),
) -> Plane:
    """Axes that cover `points`.

    Args:
        points: What will be drawn.
        axes: x and y.
        top: Where the drawing may begin.
        padding: Room kept free at both ends of the x axis, in units of the drawing.
        markers: What the x axis covers besides.
    """
    x_axis, y_axis = axes
    shown = [(x, y) for x, y in points if x_axis.can_show(x) and y_axis.can_show(y)]
    above = top + 26
    y = scale((y for _, y in shown), y_axis, start=above + PLOT_HEIGHT, end=above, to_ticks=True)
    left = max((text_width(text) for text in y.ticks().labels), default=0.0) + 10
    x = scale(
        [*(x for x, _ in shown), *(marker.x for marker in markers)],
        x_axis,
        start=left + padding,
        end=WIDTH - 10 - padding,
        to_ticks=padding > 0,
    )
    return Plane(x, y, x_label=x_axis.label, y_label=y_axis.label, is_empty=not shown)


def _num_intervals(start: float, end: float) -> int:
    """Intervals between ticks, at most: an axis to the right is longer than one upwards."""
    return 7 if end > start else 5


def extent(values: Iterable[float]) -> str:
    """`0.1 to 2.3`, for descriptions."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "no values"
    return f"{quantity(min(finite))} to {quantity(max(finite))}"


def _marker_class(*, is_alarm: bool) -> str:
    return "marker alarm" if is_alarm else "marker"


def _sign(x: float, y: float, *, is_alarm: bool) -> str:
    """A cross for what went wrong, a triangle pointing down for the rest."""
    if is_alarm:
        return (
            f"M{x - 4:.1f} {y - 4:.1f}L{x + 4:.1f} {y + 4:.1f}"
            f"M{x + 4:.1f} {y - 4:.1f}L{x - 4:.1f} {y + 4:.1f}"
        )
    return f"M{x - 4:.1f} {y - 4:.1f}H{x + 4:.1f}L{x:.1f} {y + 3:.1f}Z"
