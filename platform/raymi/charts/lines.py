"""Line charts: how values developed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raymi.charts.canvas import LegendItem, colour, dash, drawing, heading, line_sign
from raymi.charts.markup import Svg, escape, tag
from raymi.charts.plane import Axis, Marker, Plane, Point, extent, marker_legend, plane
from raymi.charts.quantities import quantity
from raymi.charts.thinning import thin

_MAX_POINTS = 600
"""Of one line: more cannot be told apart in this width."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line."""

    name: str
    """In the legend."""

    points: Sequence[Point]
    """In the order they are joined; one that cannot be shown is a gap."""

    has_dots: bool = False
    """Whether each point is marked, for lines of few."""


@dataclass(frozen=True, slots=True)
class LineChart:
    """Several lines over one x axis."""

    title: str
    """Above the chart."""

    x: Axis
    """To the right."""

    y: Axis
    """Upwards."""

    series: Sequence[Series]
    """The lines, in the order of the legend."""

    markers: Sequence[Marker] = ()
    """What happened along the way."""


def line_chart(chart: LineChart) -> Svg:
    """Draw it."""
    legend = marker_legend(chart.markers)
    if legend or len(chart.series) > 1:
        lines = [LegendItem(line.name, line_sign(i)) for i, line in enumerate(chart.series)]
        legend = lines + legend
    head, top = heading(chart.title, legend)
    points = [point for line in chart.series for point in line.points]
    on = plane(points, (chart.x, chart.y), top=top, markers=chart.markers)
    body = head + on.axes() + on.markers(chart.markers)
    for index, line in enumerate(chart.series):
        body += _line(line, index, chart, on)
    return drawing(title=chart.title, description=_describe(chart), body=body, height=on.bottom)


def _line(line: Series, index: int, chart: LineChart, on: Plane) -> str:
    path, parts = "", []
    is_joined = False
    for x, y in thin(line.points, at_most=_MAX_POINTS):
        if not (chart.x.can_show(x) and chart.y.can_show(y)):
            is_joined = False
            continue
        path += f"{'L' if is_joined else 'M'}{on.x(x):.1f} {on.y(y):.1f}"
        is_joined = True
        if line.has_dots:
            what = tag("title", escape(f"{line.name}: {quantity(y, digits=4)} at {quantity(x)}"))
            parts.append(
                tag("circle", what, cx=on.x(x), cy=on.y(y), r=3, class_=f"fill {colour(index)}")
            )
    if path:
        classes = f"line {colour(index)}"
        parts.insert(0, tag("path", d=path, class_=classes, stroke_dasharray=dash(index)))
    return "".join(parts)


def _describe(chart: LineChart) -> str:
    lines = "; ".join(f"{line.name}: {extent(y for _, y in line.points)}" for line in chart.series)
    marked = f" Marked: {', '.join(m.detail or m.name for m in chart.markers)}." * bool(
        chart.markers
    )
    return f"{chart.y.label} over {chart.x.label}. {lines}.{marked}"
