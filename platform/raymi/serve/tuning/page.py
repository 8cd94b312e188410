"""A tuning on one page: who won, the frontier, how fast passes are, quality, who is out and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

from raymi.charts.intervals import Interval, IntervalChart, interval_chart
from raymi.charts.lines import LineChart, Series, line_chart
from raymi.charts.markup import Svg
from raymi.charts.page import Block, Charts, Details, Page, Prose, Section, Table, Tile, render
from raymi.charts.plane import Axis
from raymi.charts.scatter import Group, LabelledPoint, ScatterPlot, scatter_plot
from raymi.serve.tuning.receipt import TuningReceipt
from raymi.serve.tuning.shortlist import median_passes
from raymi.serve.tuning.verdicts import Standing
from raymi.serve.tuning.view import LOAD_COLUMNS, WAY_COLUMNS, left_out, load_rows, way_rows
from raymi.serve.tuning.words import describe, load_words
from raymi.specs.tune_serving import TuneServingSpec
from raymi.store.record import write_atomically

_MAX_CURVES = 8


def write_page(receipt: TuningReceipt, path: Path, *, deploy_yaml: str | None) -> None:
    """Write one file, without scripts or outside requests; replaced in one step."""
    write_atomically(path, render(_page(receipt, deploy_yaml)))


def _page(receipt: TuningReceipt, deploy_yaml: str | None) -> Page:
    evidence, decision = receipt.evidence, receipt.decision
    spec = TuneServingSpec.from_document(evidence.spec)
    first, *more = decision.sentence.split("; ")
    if decision.winner is None:
        title = "Nobody is shown to meet the objective"
    else:
        title = f"{describe(evidence, decision.winner)} wins"
    sections = [
        Section("Worth knowing", [Prose(f"{part[:1].upper()}{part[1:]}.") for part in more]),
        Section("Under load", _under_load(receipt, spec)),
        Section("Ways to compute", _ways(receipt, spec)),
        Section("Not deployed", [_left_out(receipt)]),
        Section("How to do it again", _again(receipt, deploy_yaml)),
    ]
    return Page(
        title=title,
        lead=f"{first}.",
        subtitle=" · ".join([
            f"tuning {evidence.tuning_id}", f"model {evidence.model}", load_words(spec),
            f"{len(evidence.candidates)} configurations on {evidence.accelerator}",
            f"began {evidence.started_at:%Y-%m-%d %H:%M} UTC",
        ]),
        tiles=_tiles(receipt, spec),
        sections=[section for section in sections if section.blocks],
    )  # fmt: skip


def _tiles(receipt: TuningReceipt, spec: TuneServingSpec) -> list[Tile]:
    evidence, decision = receipt.evidence, receipt.decision
    goal = Tile("objective", f"{spec.objective.p99_ms:g} ms", f"p99 at {load_words(spec)}")
    took = Tile("took", f"{evidence.duration_s:,.0f} s", evidence.stopped_by or "",
                is_alarm=evidence.stopped_by is not None)  # fmt: skip
    shown = decision.winner if decision.winner is not None else decision.closest
    if shown is None:
        return [goal, took]
    one = decision.standings[shown]
    name = "p99" if decision.winner is not None else "closest p99"
    value = None if one.p99_ms is None else f"{one.p99_ms:.1f} ms"
    high = "no limit" if one.p99_high_ms is None else f"{one.p99_high_ms:.1f}"
    note = f"{one.p99_low_ms or 0.0:.1f} to {high}, {one.num_requests:,} requests"
    return [
        Tile(name, value, note, is_alarm=decision.winner is None),
        goal,
        Tile("CPUs", f"{evidence.candidates[shown].num_cpus:g}", "reserved by all replicas"),
        Tile("failed", f"{one.num_failed:,}", f"of {one.num_requests:,} requests",
             is_alarm=one.num_failed > 0),
        took,
    ]  # fmt: skip


def _under_load(receipt: TuningReceipt, spec: TuneServingSpec) -> list[Block]:
    rows = load_rows(receipt.evidence, receipt.decision)
    if not rows:
        return [Prose("No configuration was put under load.")]
    note = (
        "Each was deployed anew for every load, in random order; requests left when they were due, "
        "and their time counts from then. > is the winner, * is on the frontier of price and p99. "
        "The load came from the machine that served it."
    )
    return [
        Prose(note),
        Charts([chart for chart in (_frontier(receipt, spec), _p99s(receipt, spec)) if chart]),
        Table(LOAD_COLUMNS, rows, frozenset({1, 2, 3, 5})),
    ]


def _measured(receipt: TuningReceipt) -> list[Standing]:
    return [one for one in receipt.decision.standings if one.p99_ms is not None]


def _frontier(receipt: TuningReceipt, spec: TuneServingSpec) -> Svg | None:
    """p99 against what the configuration could carry, a group for each backend."""
    evidence, measured = receipt.evidence, _measured(receipt)
    if not measured:
        return None
    groups: dict[str, list[LabelledPoint]] = {}
    for one in measured:
        way = evidence.ways[evidence.candidates[one.candidate].way]
        low, high = one.p99_low_ms, one.p99_high_ms
        groups.setdefault(way.label, []).append(
            LabelledPoint(
                one.rows_per_s or 0.0,
                one.p99_ms or 0.0,
                describe(evidence, one.candidate),
                y_interval=(low, high) if low is not None and high is not None else None,
                is_key=one.candidate == receipt.decision.winner,
            )
        )
    speeds = [one.rows_per_s or 0.0 for one in measured]
    goal = [LabelledPoint(x, spec.objective.p99_ms) for x in (0.0, max(speeds))]
    drawn = [Group(name, points) for name, points in groups.items()]
    drawn.append(Group("objective", goal, is_joined=True, has_signs=False))
    return scatter_plot(
        ScatterPlot(
            "p99 against what forward passes could carry",
            Axis("rows/s (more is better)", includes_zero=True),
            Axis("p99 (ms, less is better)", includes_zero=True),
            drawn,
        )
    )


def _p99s(receipt: TuningReceipt, spec: TuneServingSpec) -> Svg | None:
    rows = [
        Interval(describe(receipt.evidence, one.candidate), one.p99_low_ms or 0.0,
                 one.p99_ms or 0.0, one.p99_high_ms)
        for one in sorted(_measured(receipt), key=lambda one: one.p99_ms or 0.0)
        if one.p99_high_ms is not None
    ]  # fmt: skip
    if not rows:
        return None
    axis = Axis("p99 (ms)", includes_zero=True)
    goal = spec.objective.p99_ms
    return interval_chart(
        IntervalChart("p99 under load", axis, rows, goal, f"objective {goal:g} ms")
    )


def _ways(receipt: TuningReceipt, spec: TuneServingSpec) -> list[Block]:
    evidence, decision = receipt.evidence, receipt.decision
    text = (
        f"Compared with the model as it was evaluated ({evidence.ways[0].label}) on "
        f"{evidence.dataset}, paired by row. The weights are fixed, so rows are the only thing "
        f"drawn at random. Margin {spec.gate.margin:g}, fixed beforehand; p-values are corrected "
        "for all ways that were tested (Holm)."
    )
    charts = [chart for chart in (_speeds(receipt), _differences(receipt, spec)) if chart]
    return [
        Prose(text),
        *([Charts(charts)] if charts else []),
        Table(WAY_COLUMNS, way_rows(evidence, decision), frozenset({1, 2, 3, 4, 5})),
    ]


def _speeds(receipt: TuningReceipt) -> Svg | None:
    """Rows a second against the size of a pass, the fastest ways."""
    medians = {
        way.label: found
        for index, way in enumerate(receipt.evidence.ways)
        if (found := median_passes(receipt.evidence, index))
    }
    fastest: Callable[[str], float] = lambda name: -max(n / s for n, s in medians[name].items())  # noqa: E731
    series = [
        Series(name, [(float(n), n / s) for n, s in medians[name].items()], has_dots=True)
        for name in sorted(medians, key=fastest)[:_MAX_CURVES]
    ]
    if not series:
        return None
    axes = Axis("rows of a forward pass", is_log=True), Axis("rows/s", is_log=True)
    return line_chart(LineChart("Forward passes alone", *axes, series))


def _differences(receipt: TuningReceipt, spec: TuneServingSpec) -> Svg | None:
    evidence = receipt.evidence
    rows = [
        Interval(evidence.ways[one.way].label, 100.0 * low, 100.0 * value, 100.0 * high)
        for one in receipt.decision.gates
        if (low := one.lower_bound) is not None
        and (value := one.difference) is not None
        and (high := one.upper_bound) is not None
    ]
    if not rows:
        return None
    unit = "points of accuracy" if evidence.metric == "accuracy" else f"% of its {evidence.metric}"
    margin = 100.0 * spec.gate.margin
    axis = Axis(f"better than the reference by ({unit})", includes_zero=True)
    return interval_chart(IntervalChart("On test rows", axis, rows, -margin, f"margin -{margin:g}"))


def _left_out(receipt: TuningReceipt) -> Block:
    rows = left_out(receipt.evidence, receipt.decision)
    return Table(("configuration", "status", "why"), rows)


def _again(receipt: TuningReceipt, deploy_yaml: str | None) -> list[Block]:
    spec_text = yaml.safe_dump(receipt.evidence.spec, sort_keys=False)
    blocks: list[Block] = [
        Prose("`raymi receipt verify receipt.json` decides once more from the raw numbers."),
        Details("The resolved spec", spec_text),
    ]
    if deploy_yaml is not None:
        blocks.insert(0, Details("The deploy spec of the winner", deploy_yaml))
    return blocks
