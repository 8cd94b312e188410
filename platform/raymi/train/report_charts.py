"""The charts of a run's page: losses, quality, pace, step times, power."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter

from raymi.charts.histogram import Histogram, coarser, histogram
from raymi.charts.lines import LineChart, Series, line_chart
from raymi.charts.markup import Svg
from raymi.charts.plane import Axis, Marker, Point
from raymi.train.instrument_log import TelemetryPoint
from raymi.train.run_files import RunFiles, number
from raymi.train.step_times import StepTimes
from raymi.train.telemetry import RankTelemetry

_GAP: Point = (math.nan, math.nan)
_LOG_RATIO = 20.0
"""Losses that fall by more than this factor are shown on a logarithmic axis."""
_MAX_BARS = 60
_MAX_LINES = 8
"""Workers shown in one chart: more lines cannot be told apart."""
_POWER = Axis("power (W)", includes_zero=True)
_INSTRUMENTS: tuple[tuple[str, Axis, Callable[[TelemetryPoint], float | None]], ...] = (
    ("Power", _POWER, attrgetter("power_w")),
    ("Clock", Axis("clock (MHz)"), attrgetter("clock_mhz")),
    ("Temperature", Axis("temperature (°C)"), attrgetter("temperature_c")),
)
_FEW = 40
"""Points up to which each is marked."""

_NOT_METRICS = frozenset(
    {"time", "epoch", "num_epochs", "step", "total_steps", "eta_s", "train_loss", "loss"}
    | {"samples_per_s", "tokens_per_s", "step_ms", "data_wait_share", "power_w", "mfu"}
)


def run_charts(run: RunFiles) -> list[Svg]:
    """The charts that there are values for."""
    charts = [_losses(run), _quality(run), _pace(run)]
    if run.telemetry is not None and run.telemetry.step_times.counts:
        charts.append(step_time_chart(run.telemetry.step_times))
    charts += _instruments(run)
    return [chart for chart in charts if chart is not None]


def quality_metric(run: RunFiles) -> str | None:
    """The metric that decides: the result's, or the first that epochs report beside the loss."""
    primary = run.result.get("primary_metric")
    if isinstance(primary, str):
        return primary
    epochs = run.of_kind("epoch")
    names = [name for name in epochs[-1] if name not in _NOT_METRICS] if epochs else []
    numbers = [name for name in names if number(epochs[-1], name) is not None]
    preferred = [name for name in ("bits_per_byte", "accuracy", "rmse") if name in numbers]
    return next(iter([*preferred, *numbers]), "loss" if epochs else None)


def step_time_chart(times: StepTimes) -> Svg:
    """How long steps took."""
    edges, counts = coarser(times.edges_ms, times.counts, at_most=_MAX_BARS)
    return histogram(
        Histogram(
            title="Step time",
            x=Axis("step time (ms)", is_log=True),
            edges=edges,
            counts=counts,
            counted="steps",
            markers=[
                Marker(times.p50_ms, f"median {times.p50_ms:,.3g} ms"),
                Marker(times.p99_ms, f"99% within {times.p99_ms:,.3g} ms"),
            ],
        )
    )


def _losses(run: RunFiles) -> Svg | None:
    training: list[Point] = []
    validation: list[Point] = []
    for event in run.of_kind("attempt", "progress", "epoch"):
        step = number(event, "step")
        if event["event"] == "attempt":
            # Steps after the checkpoint that it began from are done a second time.
            training.append(_GAP)
            validation.append(_GAP)
            continue
        is_epoch = event["event"] == "epoch"
        fitted = number(event, "train_loss" if is_epoch else "loss")
        judged = number(event, "loss") if is_epoch else None
        if step is not None and fitted is not None:
            training.append((step, fitted))
        if step is not None and judged is not None:
            validation.append((step, judged))
    losses = [y for _, y in [*training, *validation] if math.isfinite(y)]
    if not losses:
        return None
    is_log = min(losses) > 0 and max(losses) > _LOG_RATIO * min(losses)
    return line_chart(
        LineChart(
            title="Loss",
            x=Axis("optimizer step", is_whole=True),
            y=Axis("loss, logarithmic" if is_log else "loss", is_log=is_log),
            series=[_line("training", training), _line("validation", validation)],
            markers=_markers(run),
        )
    )


def _markers(run: RunFiles) -> list[Marker]:
    """Checkpoints where they were taken, failures after the last step that was heard of."""
    markers: list[Marker] = []
    reached = 0.0
    for event in run.events:
        step = number(event, "step")
        match event["event"]:
            case "checkpoint" if step is not None:
                markers.append(Marker(step, "checkpoint", f"checkpoint at step {step:,.0f}"))
            case "failure":
                reason = str(event.get("reason", "failure"))
                detail = f"{reason} after step {reached:,.0f}"
                markers.append(Marker(reached, reason, detail, is_alarm=True))
        reached = step if step is not None else reached
    return markers


def _quality(run: RunFiles) -> Svg | None:
    name = quality_metric(run)
    points = [
        (epoch, value)
        for event in run.of_kind("epoch")
        if (epoch := number(event, "epoch")) is not None
        and (value := number(event, name or "")) is not None
    ]
    if not points or name is None:
        return None
    return line_chart(
        LineChart(
            title=f"Validation {name}",
            x=Axis("epoch", is_whole=True),
            y=Axis(name),
            series=[_line(name, points)],
        )
    )


def _pace(run: RunFiles) -> Svg | None:
    events = run.of_kind("attempt", "progress", "epoch")
    unit_s, unit = time_unit(events[-1]["time"] - events[0]["time"] if events else 0.0)
    points = [
        _GAP
        if event["event"] == "attempt"
        else ((event["time"] - events[0]["time"]) / unit_s, number(event, "samples_per_s") or 0.0)
        for event in events
    ]
    if not any(math.isfinite(y) for _, y in points):
        return None
    return line_chart(
        LineChart(
            title="Throughput, mean of the attempt so far",
            x=Axis(f"time ({unit})"),
            y=Axis("samples/s", includes_zero=True),
            series=[_line("samples/s", points)],
        )
    )


def _instruments(run: RunFiles) -> list[Svg]:
    """Power, clock and temperature, by the instruments or else by the progress lines."""
    if run.telemetry is None:
        progress = run.of_kind("progress", "epoch")
        points = [
            (event["time"] - progress[0]["time"], watts)
            for event in progress
            if (watts := number(event, "power_w")) is not None
        ]
        return [_over_time("Power of worker 0", _POWER, {"worker 0": points})] if points else []
    ranks = _distinct(run.telemetry.ranks)
    shown, more = ranks[:_MAX_LINES], ""
    if len(shown) < len(ranks):
        more = f" of the first {len(shown)} of {len(ranks)} workers"
    charts = []
    for title, axis, value in _INSTRUMENTS:
        lines = {f"worker {rank.rank}": _values(rank.series, value) for rank in shown}
        if any(lines.values()):
            charts.append(_over_time(f"{title}{more}", axis, lines))
    return charts


def _distinct(ranks: Sequence[RankTelemetry]) -> list[RankTelemetry]:
    """Workers that look at different things: on CPUs, one for each host."""
    hosts: set[str] = set()
    chosen: list[RankTelemetry] = []
    for rank in ranks:
        if rank.device.accelerator == "cpu" and rank.host in hosts:
            continue
        hosts.add(rank.host)
        chosen.append(rank)
    return chosen


def _values(
    points: Sequence[TelemetryPoint], value: Callable[[TelemetryPoint], float | None]
) -> list[Point]:
    return [(point.time_s, found) for point in points if (found := value(point)) is not None]


def _over_time(title: str, axis: Axis, lines: Mapping[str, Sequence[Point]]) -> Svg:
    unit_s, unit = time_unit(max(x for points in lines.values() for x, _ in points))
    series = [_line(name, [(x / unit_s, y) for x, y in points]) for name, points in lines.items()]
    return line_chart(LineChart(title, Axis(f"time ({unit})"), axis, series))


def time_unit(longest_s: float) -> tuple[float, str]:
    """Seconds in the unit for an axis of this length, and its name."""
    if longest_s < 300:
        return 1.0, "s"
    return (60.0, "min") if longest_s < 3 * 3600 else (3600.0, "h")


def _line(name: str, points: Sequence[Point]) -> Series:
    return Series(name, points, has_dots=len(points) <= _FEW)
