"""Charts are well-formed SVG that says what it shows; no text of a user gets out of its place."""

import math
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.charts.histogram import Histogram, coarser, histogram
from raymi.charts.intervals import Interval, IntervalChart, interval_chart
from raymi.charts.lines import LineChart, Series, line_chart
from raymi.charts.plane import Axis, Marker
from raymi.charts.scatter import Group, LabelledPoint, ScatterPlot, scatter_plot
from raymi.charts.thinning import thin

SVG = "{http://www.w3.org/2000/svg}"
X, Y = Axis("step"), Axis("loss")
HOSTILE = '</text><script>alert("1")</script>&\x00'
ANY_FLOAT = st.floats(width=32)


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own text


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def lines(*series: Series, y: Axis = Y, markers: tuple[Marker, ...] = ()) -> ET.Element:
    return parsed(line_chart(LineChart("Loss", X, y, series, markers)))


def line_paths(root: ET.Element) -> list[str]:
    return [p.get("d", "") for p in root.iter(f"{SVG}path") if "line" in p.get("class", "")]


def four_charts(text: str) -> list[str]:
    axis = Axis(text)
    return [
        line_chart(
            LineChart(text, axis, axis, [Series(text, [(0, 1), (1, 2)], has_dots=True)],
                      [Marker(0.5, text, text, is_alarm=True)])
        ),
        histogram(Histogram(text, axis, [1.0, 2.0, 3.0], [1, 2], text, [Marker(2.0, text)])),
        scatter_plot(ScatterPlot(text, axis, axis, [Group(text, [LabelledPoint(1, 2, text)])])),
        interval_chart(IntervalChart(text, axis, [Interval(text, 0.9, 1.0, 1.1)], 1.0, text)),
    ]  # fmt: skip


@given(text=st.text(max_size=20))
def test_whatever_text_goes_in_a_well_formed_drawing_comes_out(text):
    for chart in four_charts(text):
        assert parsed(chart).tag == f"{SVG}svg"


@pytest.mark.parametrize("kind", range(4), ids=["lines", "histogram", "scatter", "intervals"])
def test_markup_in_a_users_text_stays_text(kind):
    chart = four_charts(HOSTILE)[kind]

    elements = {element.tag.removeprefix(SVG) for element in parsed(chart).iter()}
    assert "script" not in elements
    assert any("<script>" in text for text in texts(parsed(chart)))


@pytest.mark.parametrize("kind", range(4), ids=["lines", "histogram", "scatter", "intervals"])
def test_a_drawing_has_a_name_and_a_description(kind):
    root = parsed(four_charts("Cost & benefit")[kind])

    named = {element.get("id"): element.text for element in root}
    title, description = (named[name] for name in root.get("aria-labelledby").split())
    assert root.get("role") == "img"
    assert title == "Cost & benefit"
    assert description


@given(points=st.lists(st.tuples(ANY_FLOAT, ANY_FLOAT), max_size=30), is_log=st.booleans())
def test_any_numbers_can_be_drawn_and_none_is_written_that_is_no_position(points, is_log):
    chart = line_chart(LineChart("t", X, Axis("y", is_log=is_log), [Series("s", points)]))

    assert not re.search(r'"[^"]*\b(nan|inf)\b[^"]*"', "".join(line_paths(parsed(chart))))
    assert parsed(chart) is not None


@given(points=st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e6, 1e6)), min_size=1))
def test_points_lie_within_the_drawing(points):
    root = lines(Series("s", points))

    _, _, width, height = map(float, root.get("viewBox").split())
    numbers = [float(n) for path in line_paths(root) for n in re.findall(r"-?\d+\.\d", path)]
    assert all(0 <= x <= width for x in numbers[0::2])
    assert all(0 <= y <= height for y in numbers[1::2])


def test_larger_values_are_higher_up_and_later_ones_further_right():
    (path,) = line_paths(lines(Series("s", [(0, 1.0), (10, 3.0), (20, 2.0)])))

    (x0, y0), (x1, y1), (x2, y2) = [
        tuple(map(float, pair.split())) for pair in re.findall(r"[\d.]+ [\d.]+", path)
    ]
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.15)
    assert y0 - y2 == pytest.approx(y2 - y1, abs=0.15)
    assert y1 < y2 < y0


def test_equal_ratios_are_equal_distances_on_a_logarithmic_axis():
    (path,) = line_paths(lines(Series("s", [(0, 1), (1, 10), (2, 100)]), y=Axis("y", is_log=True)))

    y0, y1, y2 = map(float, re.findall(r" ([\d.]+)", path))
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.15)


def test_a_value_that_is_not_a_number_breaks_the_line():
    (path,) = line_paths(lines(Series("s", [(0, 1), (1, 2), (2, math.nan), (3, 1), (4, 2)])))

    assert path.count("M") == 2


def test_a_chart_without_values_says_so():
    assert "no values" in texts(lines(Series("s", [])))


def test_several_lines_have_a_legend_and_one_has_none():
    two = texts(lines(Series("training", [(0, 1)]), Series("validation", [(0, 2)])))
    one = texts(lines(Series("training", [(0, 1)])))

    assert {"training", "validation"} <= set(two)
    assert "training" not in one


def test_what_went_wrong_is_named_where_it_happened():
    markers = (Marker(2, "checkpoint"), Marker(5, "worker_died", "step 5", is_alarm=True))

    root = lines(Series("s", [(0, 1), (10, 2)]), markers=markers)

    assert texts(root).count("worker_died") == 2
    assert texts(root).count("checkpoint") == 1


def test_what_happened_before_the_first_value_is_on_the_axis():
    early = Marker(0, "out_of_memory", "before any step", is_alarm=True)

    root = lines(Series("s", [(50, 1), (100, 2)]), markers=(early,))

    assert "before any step" in [title.text for title in root.iter(f"{SVG}title")]
    assert "0" in texts(root)


def test_bars_are_as_high_as_their_counts():
    root = parsed(histogram(Histogram("t", Axis("ms"), [0.0, 1.0, 2.0, 3.0], [10, 0, 5], "steps")))

    first, second = [float(bar.get("height")) for bar in root.iter(f"{SVG}rect")]
    assert first == pytest.approx(2 * second, abs=0.2)


def test_a_histogram_needs_one_edge_more_than_counts():
    with pytest.raises(ValueError, match="3 edges"):
        histogram(Histogram("t", X, [0, 1, 2], [1]))


@given(counts=st.lists(st.integers(0, 99), min_size=1, max_size=60), at_most=st.integers(1, 20))
def test_coarser_intervals_count_the_same_values(counts, at_most):
    edges = [float(index) for index in range(len(counts) + 1)]

    joined_edges, joined = coarser(edges, counts, at_most=at_most)

    assert len(joined) <= at_most
    assert sum(joined) == sum(counts)
    assert (joined_edges[0], joined_edges[-1]) == (edges[0], edges[-1])
    assert len(joined_edges) == len(joined) + 1


def test_labels_of_points_do_not_cover_each_other():
    crowd = [LabelledPoint(1.0, 1.0, f"setting {index}") for index in range(20)]

    root = parsed(scatter_plot(ScatterPlot("t", X, Y, [Group("g", crowd)])))

    written = [text for text in texts(root) if text.startswith("setting")]
    pointed_at = [title.text for title in root.iter(f"{SVG}title")]
    assert len(written) <= 4
    assert all(any(f"setting {index}:" in (t or "") for t in pointed_at) for index in range(20))


def test_a_front_joins_its_points():
    points = [LabelledPoint(1, 1), LabelledPoint(2, 3)]

    root = parsed(scatter_plot(ScatterPlot("t", X, Y, [Group("front", points, is_joined=True)])))

    assert len(line_paths(root)) == 1


def test_an_interval_shows_its_numbers_and_what_it_is_held_against():
    rows = [Interval("throughput", 0.985, 0.997, 1.01)]

    root = parsed(interval_chart(IntervalChart("t", Axis("ratio"), rows, 1.0, "as fast")))

    assert {"0.997 (0.985 to 1.010)", "as fast"} <= set(texts(root))


def test_a_long_name_of_an_interval_is_cut_but_can_be_pointed_at():
    root = parsed(interval_chart(IntervalChart("t", X, [Interval("n" * 90, 1, 2, 3)])))

    assert any(text.endswith("…") for text in texts(root))
    assert any("n" * 90 in (title.text or "") for title in root.iter(f"{SVG}title"))


@given(values=st.lists(ANY_FLOAT, min_size=1, max_size=400), at_most=st.integers(4, 100))
def test_thinning_keeps_order_ends_and_spikes(values, at_most):
    points = [(float(index), value) for index, value in enumerate(values)]

    kept = thin(points, at_most=at_most)

    xs = [x for x, _ in kept]
    finite = [y for _, y in points if math.isfinite(y)]
    assert xs == sorted(set(xs))
    assert (xs[0], xs[-1]) == (0.0, float(len(values) - 1))
    assert len(kept) <= max(at_most, 4) * 5 / 4
    if finite:
        kept_finite = [y for _, y in kept if math.isfinite(y)]
        assert (min(kept_finite), max(kept_finite)) == (min(finite), max(finite))


def test_an_interval_of_a_point_is_covered_by_the_axes_and_drawn_from_limit_to_limit():
    point = LabelledPoint(2.0, 1.0, "a", x_interval=(1.0, 4.0), y_interval=(0.5, 1.5))

    root = parsed(scatter_plot(ScatterPlot("t", X, Y, [Group("g", [point])])))

    across, upwards = [e for e in root.iter(f"{SVG}line") if "interval" in e.get("class", "")]
    (circle,) = root.iter(f"{SVG}circle")
    assert float(across.get("x1")) < float(circle.get("cx")) < float(across.get("x2"))
    assert float(upwards.get("y1")) > float(circle.get("cy")) > float(upwards.get("y2"))


def test_a_line_without_signs_may_share_the_colour_of_the_points_it_was_fitted_to():
    points = Group("bf16", [LabelledPoint(1, 1), LabelledPoint(2, 2)])
    other = Group("fp32", [LabelledPoint(1, 3)])
    fit = Group("fit", [LabelledPoint(0, 0), LabelledPoint(3, 3)],
                is_joined=True, has_signs=False, like=0)  # fmt: skip

    root = parsed(scatter_plot(ScatterPlot("t", X, Y, [points, other, fit])))

    (line,) = [p for p in root.iter(f"{SVG}path") if "line" in p.get("class", "")]
    assert line.get("class") == "line c0"
    assert len(list(root.iter(f"{SVG}circle"))) == 3  # Two points and the legend.
    assert "fit" not in texts(root)


def test_a_key_label_is_placed_first_and_in_bold():
    crowd = [LabelledPoint(1.0 + i / 1000, 1.0, f"point {i}") for i in range(20)]
    key = LabelledPoint(1.02, 1.0, "the winner", is_key=True)

    root = parsed(scatter_plot(ScatterPlot("t", X, Y, [Group("g", [*crowd, key])])))

    (bold,) = [t for t in root.iter(f"{SVG}text") if "key" in t.get("class", "")]
    assert bold.text == "the winner"


def test_hollow_signs_are_outlines():
    groups = [Group("a", [LabelledPoint(1, 1)]),
              Group("a", [LabelledPoint(2, 2)], like=0, is_hollow=True)]  # fmt: skip

    root = parsed(scatter_plot(ScatterPlot("t", X, Y, groups)))

    classes = [circle.get("class") for circle in root.iter(f"{SVG}circle")]
    assert classes == ["fill c0", "line c0"]
