"""The charts of a sweep's page: trade-offs, speeds, memory, quality, learning curves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from raymi.charts.intervals import Interval, IntervalChart, interval_chart
from raymi.charts.lines import LineChart, Series, line_chart
from raymi.charts.markup import Svg
from raymi.charts.plane import Axis
from raymi.charts.scatter import Group, LabelledPoint, ScatterPlot, scatter_plot
from raymi.sweep.evidence import Purpose, RunStatus
from raymi.sweep.verdicts import Confirmation, Costs, MemoryModel, QualityTest, Timing
from raymi.sweep.view.facts import Facts

_MAX_LABELLED = 14
"""Settings up to which each is named in a plot; of more, only those that stand out."""

_MAX_WHISKERS = 30
"""Settings up to which intervals are drawn in a scatter plot."""

_MAX_ROWS = 20
"""Settings in a chart of intervals; the table has all."""

_MAX_CURVES = 8
_LOG_RATIO = 16.0
"""Micro-batches that differ by more than this are on a logarithmic axis."""

_TAKES_MEMORY = ("data", "distillation", "model", "parallelism", "problem", "resources", "rows",
                 "optimizer.name")  # fmt: skip
"""Parts of a run that change how much memory a sample takes, besides its precision."""

_NUM_STEPS = 32
"""Points of a fitted line: on a logarithmic axis it is a curve."""


@dataclass(frozen=True, slots=True)
class _Respect:
    """Something that settings are better or worse in, besides speed."""

    title: str
    axis: Axis
    value: Callable[[Costs], float | None]
    more_is_better: bool = False
    limits: Callable[[int], tuple[float, float] | None] = lambda _: None
    """Setting -> how far its values reach."""

    bar: float | None = None
    """The worst that is allowed."""


def quality_against_speed(facts: Facts) -> Svg | None:
    """Quality against speed; None where no setting has both."""
    name = facts.evidence.metric
    better = "more" if facts.evidence.higher_is_better else "less"
    seeds = _seeds_of(facts)

    def limits(index: int) -> tuple[float, float] | None:
        values = seeds.get(facts.evidence.settings[index].numerics, [])
        return (min(values), max(values)) if len(values) > 1 else None

    return _trade_off(
        facts,
        _Respect(
            "Quality against speed",
            Axis(f"{name} ({better} is better)"),
            lambda costs: costs.quality,
            more_is_better=facts.evidence.higher_is_better,
            limits=limits,
            bar=_worst_allowed(facts),
        ),
    )


def memory_against_speed(facts: Facts) -> Svg | None:
    """Peak memory against speed; None where no setting has both."""
    axis = Axis("peak memory (GiB, less is better)", includes_zero=True)
    respect = _Respect("Memory against speed", axis, lambda costs: costs.peak_memory_gib)
    return _trade_off(facts, respect)


def energy_against_speed(facts: Facts) -> Svg | None:
    """Energy of a run against speed; None where nothing measured it."""
    axis = Axis("energy of a run (J, less is better)", includes_zero=True)
    return _trade_off(facts, _Respect("Energy against speed", axis, lambda costs: costs.energy_j))


def money_against_speed(facts: Facts) -> Svg | None:
    """Price of a run against speed where workers vary: else one follows from the other."""
    if len({setting.num_workers for setting in facts.evidence.settings}) == 1:
        return None
    axis = Axis("price of a run (less is better)", includes_zero=True)
    return _trade_off(facts, _Respect("Price against speed", axis, lambda costs: costs.money))


def _worst_allowed(facts: Facts) -> float | None:
    """The quality that is worse than the reference's by the margin; None: nobody knows that."""
    reference = facts.costs_of(facts.evidence.reference).quality
    if reference is None:
        return None
    margin = facts.spec.constraints.max_quality_loss
    is_points = facts.evidence.metric == "accuracy"
    return reference - margin if is_points else reference * (1.0 + margin)


_Found = tuple[int, float, float]
"""A setting, its speed, and what it is compared in."""


def _trade_off(facts: Facts, respect: _Respect) -> Svg | None:
    """A group for each precision, the line of what nothing beats, and the bar if there is one."""
    found = [
        (costs.setting, costs.samples_per_s, value)
        for costs in facts.decision.costs
        if costs.samples_per_s is not None and (value := respect.value(costs)) is not None
    ]
    if not found:
        return None
    able = [(x, y) for index, x, y in found if facts.is_on_front(index)]
    front = _outline(able, more_is_better=respect.more_is_better)
    named = _named(facts, [index for index, x, y in found if (x, y) in front], len(found))
    with_whiskers = len(found) <= _MAX_WHISKERS
    groups: list[Group] = []
    for precision in facts.precisions:
        own = [one for one in found if facts.evidence.settings[one[0]].precision is precision]
        for is_out in (False, True):
            points = [
                _point(facts, respect, one, named, with_whiskers)
                for one in own
                if facts.is_out(one[0]) is is_out
            ]
            like = len(groups) - 1 if is_out else None
            groups.append(Group(precision.value, points, like=like, is_hollow=is_out))
    lines = {"front": front}
    if respect.bar is not None:
        speeds = [x for _, x, _ in found]
        lines["margin"] = [(min(speeds), respect.bar), (max(speeds), respect.bar)]
    groups += [
        Group(name, [LabelledPoint(x, y) for x, y in corners], is_joined=True, has_signs=False)
        for name, corners in lines.items()
    ]
    x_axis = Axis("samples/s (more is better)", includes_zero=True)
    return scatter_plot(ScatterPlot(respect.title, x_axis, respect.axis, groups))


def _point(
    facts: Facts, respect: _Respect, found: _Found, named: Mapping[int, str], with_whiskers: bool
) -> LabelledPoint:
    index, x, y = found
    timing = facts.timings.get(index) if with_whiskers else None
    return LabelledPoint(
        x,
        y,
        named.get(index, ""),
        x_interval=(timing.low, timing.high) if timing else None,
        y_interval=respect.limits(index) if with_whiskers else None,
        is_key=index in (facts.decision.winner, facts.evidence.reference),
    )


def _outline(
    points: Sequence[tuple[float, float]], *, more_is_better: bool
) -> list[tuple[float, float]]:
    """Points that no other beats in both respects, from left to right."""
    sign = 1.0 if more_is_better else -1.0
    kept: list[tuple[float, float]] = []
    for x, y in sorted(set(points), key=lambda point: (-point[0], -sign * point[1])):
        if not kept or sign * y > sign * kept[-1][1]:
            kept.append((x, y))
    return kept[::-1]


def _named(facts: Facts, front: Sequence[int], num_shown: int) -> dict[int, str]:
    """Setting -> its label in a plot."""
    special = {facts.evidence.reference: "reference"}
    if facts.decision.winner is not None:
        special[facts.decision.winner] = "winner"
    chosen = list(range(len(facts.evidence.settings)))
    if num_shown > _MAX_LABELLED:
        chosen = [index for index in chosen if index in front or index in special]
    return {
        index: facts.name(index) + (f" ({special[index]})" if index in special else "")
        for index in chosen
    }


def _seeds_of(facts: Facts) -> dict[str, list[float]]:
    """Numerics -> the metric of each of its runs on validation rows."""
    found: dict[str, list[float]] = {}
    for run in facts.evidence.runs:
        is_good = run.status is RunStatus.SUCCEEDED and run.metric is not None
        if is_good and run.purpose is Purpose.QUALITY:
            found.setdefault(run.numerics, []).append(run.metric or 0.0)
    return found


def speed_charts(facts: Facts) -> list[Svg]:
    """Samples per second, and the same as a share of the fastest, with their intervals."""
    timings = sorted(facts.decision.timings, key=lambda one: (-one.samples_per_s, one.setting))
    if not timings:
        return []
    special = {facts.evidence.reference, facts.decision.winner}
    shown = [one for i, one in enumerate(timings) if i < _MAX_ROWS or one.setting in special]
    few = f", the fastest {_MAX_ROWS} and the reference" if len(shown) < len(timings) else ""
    reference = facts.timings.get(facts.evidence.reference)
    charts = [
        interval_chart(
            IntervalChart(
                f"Samples per second{few}",
                Axis("samples/s", includes_zero=True),
                [
                    Interval(_row_name(facts, one), one.low, one.samples_per_s, one.high)
                    for one in shown
                ],
                reference.samples_per_s if reference else None,
                "reference",
            )
        )
    ]
    paired = list(_paired(facts, shown))
    if len(paired) > 1:
        floor = facts.decision.noise_floor
        charts.append(
            interval_chart(
                IntervalChart(
                    "As a share of the fastest, round by round",
                    Axis("share of the speed of the fastest"),
                    paired,
                    None if floor is None else 1.0 - floor,
                    "" if floor is None else f"within the noise ({floor:.1%}) from here",
                )
            )
        )
    return charts


def _paired(facts: Facts, timings: Sequence[Timing]) -> Iterator[Interval]:
    for one in timings:
        low, value, high = one.of_best_low, one.of_best, one.of_best_high
        if low is not None and value is not None and high is not None:
            yield Interval(_row_name(facts, one), low, value, high)


def _row_name(facts: Facts, timing: Timing) -> str:
    name = facts.name(timing.setting)
    if timing.setting == facts.decision.winner:
        return f"{name} (winner)"
    return f"{name} (reference)" if timing.setting == facts.evidence.reference else name


def memory_chart(facts: Facts) -> Svg | None:
    """Peak memory against the micro-batch: measured points, fitted lines, and the limit."""
    points = _memory_points(facts)
    if not points:
        return None
    models = facts.decision.memory_models
    sizes = [size for own in points.values() for size, _ in own]
    limit_gib = facts.evidence.probe.memory_limit_gib
    highest = max(gib for own in points.values() for _, gib in own)
    groups = []
    if limit_gib is not None and limit_gib < 4.0 * highest:
        ends = [LabelledPoint(min(sizes), limit_gib), LabelledPoint(max(sizes), limit_gib)]
        groups.append(Group("what a worker may use", ends, is_joined=True, has_signs=False))
    measured = {name: len(groups) + index for index, name in enumerate(points)}
    groups += [
        Group(name, [LabelledPoint(size, gib) for size, gib in own]) for name, own in points.items()
    ]
    fitted = {_memory_name(facts, setting): one for one in reversed(models)
              if (setting := _example(facts, one)) is not None}  # fmt: skip
    groups += [
        Group(name, _fitted_line(fitted[name], min(sizes), max(sizes)),
              is_joined=True, has_signs=False, like=measured[name])
        for name in points
        if name in fitted
    ]  # fmt: skip
    is_log = max(sizes) > _LOG_RATIO * min(sizes)
    return scatter_plot(
        ScatterPlot(
            "Peak memory of one worker",
            Axis("micro-batch (samples)", is_log=is_log, is_whole=not is_log),
            Axis("GiB", includes_zero=True),
            groups,
        )
    )


def _memory_points(facts: Facts) -> dict[str, list[tuple[float, float]]]:
    """What was measured -> micro-batch and GiB of what fitted."""
    found: dict[str, list[tuple[float, float]]] = {}
    for point in facts.evidence.probe.memory:
        if point.peak_gib is not None:
            own = found.setdefault(_memory_name(facts, point.setting), [])
            own.append((point.micro_batch_size, point.peak_gib))
    return found


def _memory_name(facts: Facts, index: int) -> str:
    """Names the settings that are alike in memory but for their micro-batch."""
    setting = facts.evidence.settings[index]
    parts = [setting.precision.value]
    parts += [
        f"{one.header} {one.values[index]}"
        for one in facts.swept
        if one.path in _TAKES_MEMORY or one.path.partition(".")[0] in _TAKES_MEMORY
    ]
    return " · ".join(parts)


def _example(facts: Facts, model: MemoryModel) -> int | None:
    """A setting that the model is of."""
    alike = (
        setting.index
        for setting in facts.evidence.settings
        if setting.numerics == model.numerics and setting.num_workers == model.num_workers
    )
    return next(alike, None)


def _fitted_line(model: MemoryModel, low: float, high: float) -> list[LabelledPoint]:
    ratio = (high / low) ** (1.0 / (_NUM_STEPS - 1))
    sizes = [low * ratio**step for step in range(_NUM_STEPS)]
    return [LabelledPoint(n, model.fixed_gib + model.per_sample_gib * n) for n in sizes]


def difference_charts(facts: Facts) -> list[Svg]:
    """Differences from the reference against the margin, on validation and on test rows."""
    charts = [
        _forest(facts, "On validation rows", facts.decision.tests),
        _forest(facts, "Confirmation: fresh seeds, test rows", facts.decision.confirmations),
    ]
    return [chart for chart in charts if chart is not None]


def _forest(
    facts: Facts, title: str, tests: Sequence[QualityTest] | Sequence[Confirmation]
) -> Svg | None:
    rows = [
        Interval(one.numerics, 100.0 * low, 100.0 * value, 100.0 * high)
        for one in tests
        if (low := one.lower_bound) is not None
        and (value := one.difference) is not None
        and (high := one.upper_bound) is not None
    ]
    if not rows:
        return None
    metric = facts.evidence.metric
    unit = f"points of {metric}" if metric == "accuracy" else f"% of its {metric}"
    margin = 100.0 * facts.spec.constraints.max_quality_loss
    axis = Axis(f"better than the reference by ({unit})", includes_zero=True)
    return interval_chart(IntervalChart(title, axis, rows, -margin, f"margin -{margin:g}"))


def curve_chart(facts: Facts) -> Svg | None:
    """The validation metric while the first seed of each way to compute was trained."""
    first: dict[str, Series] = {}
    for run in facts.evidence.runs:
        if run.purpose is Purpose.QUALITY and len(run.curve) > 1 and run.numerics not in first:
            points = [(float(point.num_samples), point.value) for point in run.curve]
            first[run.numerics] = Series(f"{run.numerics}, seed {run.seed}", points, has_dots=True)
    if not first:
        return None
    return line_chart(
        LineChart(
            "Validation while training",
            Axis("training samples"),
            Axis(facts.evidence.metric),
            list(first.values())[:_MAX_CURVES],
        )
    )
