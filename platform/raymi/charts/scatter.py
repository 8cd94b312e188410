"""Scatter plots with labelled points and fronts that join them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raymi.charts.canvas import LegendItem, colour, dash, drawing, heading, label, text_width
from raymi.charts.markup import Svg, escape, tag
from raymi.charts.plane import Axis, Plane, extent, plane
from raymi.charts.quantities import quantity

_RADIUS = 4.5
_Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class LabelledPoint:
    """One point."""

    x: float
    """To the right."""

    y: float
    """Upwards."""

    label: str = ""
    """Beside the point where there is room, and shown when pointed at."""


@dataclass(frozen=True, slots=True)
class Group:
    """Points of one kind."""

    name: str
    """In the legend."""

    points: Sequence[LabelledPoint]
    """In the order they are joined."""

    is_joined: bool = False
    """Whether a line runs through them, as along a Pareto front."""


@dataclass(frozen=True, slots=True)
class ScatterPlot:
    """Groups of points on two axes."""

    title: str
    """Above the chart."""

    x: Axis
    """To the right."""

    y: Axis
    """Upwards."""

    groups: Sequence[Group]
    """In the order of the legend; earlier groups get their labels first."""


def scatter_plot(chart: ScatterPlot) -> Svg:
    """Draw it."""
    legend = [
        LegendItem(group.name, _sign(10, 5, index)) for index, group in enumerate(chart.groups)
    ]
    head, top = heading(chart.title, legend if len(legend) > 1 else [])
    everything = [(point.x, point.y) for group in chart.groups for point in group.points]
    on = plane(everything, (chart.x, chart.y), top=top, padding=8)
    placed = [
        (index, point, on.x(point.x), on.y(point.y))
        for index, group in enumerate(chart.groups)
        for point in group.points
        if chart.x.can_show(point.x) and chart.y.can_show(point.y)
    ]
    body = head + on.axes()
    for index, group in enumerate(chart.groups):
        if group.is_joined:
            along = [(x, y) for owner, _, x, y in placed if owner == index]
            body += _front(along, index)
    for index, point, x, y in placed:
        what = f"{point.label or chart.groups[index].name}: {_coordinates(point, chart)}"
        body += tag("g", tag("title", escape(what)), _sign(x, y, index))
    body += _labels([(point.label, x, y) for _, point, x, y in placed], on)
    return drawing(title=chart.title, description=_describe(chart), body=body, height=on.bottom)


def _coordinates(point: LabelledPoint, chart: ScatterPlot) -> str:
    return f"{chart.x.label} {quantity(point.x)}, {chart.y.label} {quantity(point.y)}"


def _front(points: Sequence[tuple[float, float]], index: int) -> str:
    if len(points) < 2:
        return ""
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return tag("path", d=path, class_=f"line {colour(index)}", stroke_dasharray=dash(index))


def _sign(x: float, y: float, index: int) -> str:
    """Circle, square, triangle, diamond in turn: groups differ by more than their colour."""
    class_, r = f"fill {colour(index)}", _RADIUS
    match index % 4:
        case 0:
            return tag("circle", cx=x, cy=y, r=r, class_=class_)
        case 1:
            return tag("rect", x=x - 4, y=y - 4, width=8, height=8, class_=class_)
        case 2:
            d = f"M{x:.1f} {y - r:.1f}L{x + r:.1f} {y + 4:.1f}H{x - r:.1f}Z"
        case _:
            d = f"M{x:.1f} {y - 5:.1f}L{x + 5:.1f} {y:.1f}L{x:.1f} {y + 5:.1f}L{x - 5:.1f} {y:.1f}Z"
    return tag("path", d=d, class_=class_)


def _labels(points: Sequence[tuple[str, float, float]], on: Plane) -> str:
    """Each label right, left, above or below its point: the first place that is free, or none."""
    taken: list[_Box] = [(x - 5, y - 5, x + 5, y + 5) for _, x, y in points]
    within = (on.x.start - 8, on.y.end - 2, on.x.end + 12, on.y.start)
    written = ""
    for text, x, y in points:
        width = text_width(text)
        corners = [(x + 8, y - 6), (x - 8 - width, y - 6), (x - width / 2, y - 20),
                   (x - width / 2, y + 7)]  # fmt: skip
        for left, upper in corners if text else []:
            box = (left, upper, left + width, upper + 12)
            if _is_inside(box, within) and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                written += label(text, x=left, y=upper + 10, class_="name")
                break
    return written


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _is_inside(box: _Box, outer: _Box) -> bool:
    return box[0] >= outer[0] and box[1] >= outer[1] and box[2] <= outer[2] and box[3] <= outer[3]


def _describe(chart: ScatterPlot) -> str:
    groups = "; ".join(
        f"{group.name}: {len(group.points)} points, {chart.x.label} "
        f"{extent(p.x for p in group.points)}, {chart.y.label} {extent(p.y for p in group.points)}"
        for group in chart.groups
    )
    return f"{chart.y.label} against {chart.x.label}. {groups}."
