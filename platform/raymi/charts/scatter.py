"""Scatter plots with labelled points, their intervals, and lines that join them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raymi.charts.canvas import (
    LegendItem,
    colour,
    dash,
    drawing,
    heading,
    label,
    line_sign,
    text_width,
)
from raymi.charts.markup import Svg, escape, tag
from raymi.charts.plane import Axis, Plane, extent, plane
from raymi.charts.quantities import quantity

_RADIUS = 4.5
_BOLD = 1.1
"""How much wider bold type is."""

_FURTHER = tuple(down for away in range(7, 150, 14) for down in (-13 - away, away))
"""How far above or below its point the label of one that matters may be."""

_FAR = 16
"""Labels at this distance have a line to their point."""

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

    x_interval: tuple[float, float] | None = None
    """How sure `x` is: a thin line from limit to limit."""

    y_interval: tuple[float, float] | None = None
    """Likewise for `y`."""

    is_key: bool = False
    """Whether its label gets a place before all others, and is bold."""


@dataclass(frozen=True, slots=True)
class Group:
    """Points of one kind."""

    name: str
    """In the legend."""

    points: Sequence[LabelledPoint]
    """In the order they are joined."""

    is_joined: bool = False
    """Whether a line runs through them, as along a Pareto front."""

    has_signs: bool = True
    """Whether each point is drawn; without, a joined group is only a line, and named points of
    other groups may lie on it."""

    like: int | None = None
    """Index of a group whose colour and sign it shares, without a place in the legend: a line
    fitted to that group's points."""

    is_hollow: bool = False
    """Whether signs are only outlines."""


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
    styles = _styles(chart.groups)
    legend = [
        LegendItem(group.name, _sign(10, 5, style) if group.has_signs else line_sign(style))
        for group, style in zip(chart.groups, styles, strict=True)
        if group.like is None
    ]
    head, top = heading(chart.title, legend if len(legend) > 1 else [])
    points = [point for group in chart.groups for point in group.points]
    everything = [corner for point in points for corner in _corners(point)]
    on = plane(everything, (chart.x, chart.y), top=top, padding=8)
    body = head + on.axes()
    signs = ""
    labels: list[tuple[LabelledPoint, float, float]] = []
    for group, style in zip(chart.groups, styles, strict=True):
        shown = [p for p in group.points if chart.x.can_show(p.x) and chart.y.can_show(p.y)]
        if group.is_joined:
            body += _line([(on.x(point.x), on.y(point.y)) for point in shown], style)
        for point in shown:
            x, y = on.x(point.x), on.y(point.y)
            labels.append((point, x, y))
            if group.has_signs:
                what = f"{point.label or group.name}: {_coordinates(point, chart)}"
                sign = _sign(x, y, style, is_hollow=group.is_hollow)
                sign = _whiskers(point, chart, on, style) + sign
                signs += tag("g", tag("title", escape(what)), sign)
    body += signs + _labels(labels, on)
    return drawing(title=chart.title, description=_describe(chart), body=body, height=on.bottom)


def _styles(groups: Sequence[Group]) -> list[int]:
    """Which colour and sign each group has: its own, or another's."""
    own = iter(range(len(groups)))
    styles = [next(own) if group.like is None else -1 for group in groups]
    return [
        style if group.like is None else styles[group.like]
        for group, style in zip(groups, styles, strict=True)
    ]


def _corners(point: LabelledPoint) -> list[tuple[float, float]]:
    """The point and the ends of its intervals: what the axes must cover."""
    return [
        (point.x, point.y),
        *((x, point.y) for x in point.x_interval or ()),
        *((point.x, y) for y in point.y_interval or ()),
    ]


def _whiskers(point: LabelledPoint, chart: ScatterPlot, on: Plane, style: int) -> str:
    drawn, classes = "", f"line interval {colour(style)}"
    if point.x_interval and all(map(chart.x.can_show, point.x_interval)):
        low, high = map(on.x, point.x_interval)
        y = on.y(point.y)
        drawn += tag("line", x1=low, y1=y, x2=high, y2=y, class_=classes)
    if point.y_interval and all(map(chart.y.can_show, point.y_interval)):
        low, high = map(on.y, point.y_interval)
        x = on.x(point.x)
        drawn += tag("line", x1=x, y1=low, x2=x, y2=high, class_=classes)
    return drawn


def _coordinates(point: LabelledPoint, chart: ScatterPlot) -> str:
    return f"{chart.x.label} {quantity(point.x)}, {chart.y.label} {quantity(point.y)}"


def _line(points: Sequence[tuple[float, float]], index: int) -> str:
    if len(points) < 2:
        return ""
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return tag("path", d=path, class_=f"line {colour(index)}", stroke_dasharray=dash(index))


def _sign(x: float, y: float, index: int, *, is_hollow: bool = False) -> str:
    """Circle, square, triangle, diamond in turn: groups differ by more than their colour."""
    class_, r = f"{'line' if is_hollow else 'fill'} {colour(index)}", _RADIUS
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


def _labels(points: Sequence[tuple[LabelledPoint, float, float]], on: Plane) -> str:
    """Each label right, left, above or below its point: the first place that is free, or none.
    One that matters may also be further off, at the end of a line."""
    taken: list[_Box] = [(x - 5, y - 5, x + 5, y + 5) for _, x, y in points]
    within = (on.x.start - 8, on.y.end - 2, on.x.end + 12, on.y.start)
    written = ""
    for point, x, y in sorted(points, key=lambda one: not one[0].is_key):
        width = text_width(point.label) * (_BOLD if point.is_key else 1.0)
        for left, upper in _places(x, y, width, is_key=point.is_key) if point.label else []:
            box = (left, upper, left + width, upper + 12)
            if _is_inside(box, within) and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                if abs(upper + 6 - y) > _FAR:
                    edge = upper if upper > y else upper + 12
                    written += tag("line", x1=x, y1=y, x2=x, y2=edge, class_="axis")
                class_ = "name key" if point.is_key else "name"
                written += label(point.label, x=left, y=upper + 10, class_=class_)
                break
    return written


def _places(x: float, y: float, width: float, *, is_key: bool) -> list[tuple[float, float]]:
    """Upper left corners of a label, the best first."""
    near = [(x + 8, y - 6), (x - 8 - width, y - 6), (x - width / 2, y - 20), (x - width / 2, y + 7)]
    if not is_key:
        return near
    across = (x - width / 2, x - width, x)
    return near + [(left, y + down) for down in _FURTHER for left in across]


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
