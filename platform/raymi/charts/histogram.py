"""Histograms: how often values were how large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raymi.charts.canvas import colour, drawing, heading
from raymi.charts.markup import Svg, escape, tag
from raymi.charts.plane import Axis, Marker, marker_legend, plane
from raymi.charts.quantities import quantity


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values that fell between edges."""

    title: str
    """Above the chart."""

    x: Axis
    """The values."""

    edges: Sequence[float]
    """Ascending; one more than counts."""

    counts: Sequence[int]
    """How many values lie between an edge and the next."""

    counted: str = "count"
    """What was counted, such as `steps`."""

    markers: Sequence[Marker] = ()
    """Values of note, such as percentiles."""


def histogram(chart: Histogram) -> Svg:
    """Draw it.

    Raises:
        ValueError: There is not one edge more than there are counts.
    """
    if len(chart.edges) != len(chart.counts) + 1:
        raise ValueError(f"{len(chart.edges)} edges do not enclose {len(chart.counts)} counts")
    head, top = heading(chart.title, marker_legend(chart.markers))
    corners = [(edge, 0.0) for edge in chart.edges]
    corners.append((chart.edges[0], float(max(chart.counts, default=0))))
    y_axis = Axis(chart.counted, includes_zero=True, is_whole=True)
    on = plane(corners, (chart.x, y_axis), top=top)
    bars = ""
    for low, high, count in zip(chart.edges, chart.edges[1:], chart.counts, strict=False):
        if count == 0:
            continue
        left, right, y = on.x(low), on.x(high), on.y(count)
        gap = 1.0 if right - left > 4 else 0.0
        what = f"{quantity(low)} to {quantity(high)}: {count:,} {chart.counted}"
        bars += tag(
            "rect",
            tag("title", escape(what)),
            x=left,
            y=y,
            width=right - left - gap,
            height=on.y.start - y,
            class_=f"fill {colour(0)}",
        )
    body = head + on.axes() + bars + on.markers(chart.markers)
    return drawing(title=chart.title, description=_describe(chart), body=body, height=on.bottom)


def coarser(
    edges: Sequence[float], counts: Sequence[int], *, at_most: int
) -> tuple[list[float], list[int]]:
    """Join equally many neighbours until no more than `at_most` intervals are left."""
    size = max(1, -(-len(counts) // at_most))
    starts = range(0, len(counts), size)
    joined = [sum(counts[start : start + size]) for start in starts]
    return [*(edges[start] for start in starts), edges[-1]], joined


def _describe(chart: Histogram) -> str:
    marked = "".join(f" {marker.name}: {quantity(marker.x)}." for marker in chart.markers)
    return (
        f"{sum(chart.counts):,} {chart.counted} by {chart.x.label}, from "
        f"{quantity(chart.edges[0])} to {quantity(chart.edges[-1])}.{marked}"
    )
