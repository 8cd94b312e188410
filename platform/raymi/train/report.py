"""A run on one page: what came out, what it cost, what went wrong, and how to do it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raymi.accelerators.energy import Energy, EnergyMethod
from raymi.charts.page import Charts, Details, Page, Prose, Section, Table, Tile, render
from raymi.charts.quantities import percent, quantity
from raymi.store.record import write_atomically
from raymi.train.events import Event
from raymi.train.follow import format_seconds
from raymi.train.report_charts import quality_metric, run_charts
from raymi.train.report_history import (
    count_workers,
    has_failed,
    history,
    outcome_sentence,
    tracebacks,
)
from raymi.train.run_files import RunFiles, number, read_run
from raymi.train.telemetry import RankTelemetry

REPORT_FILE = "report.html"

_LIBRARIES = ("raymi", "python", "torch", "ray", "numpy", "pyarrow", "triton")
_UNKNOWN = "not known for this device"
_UNFINISHED = "written when a run ends well"
_METHODS = {
    EnergyMethod.COUNTER: "energy counter of the device",
    EnergyMethod.INTEGRATED: "power readings, integrated",
    EnergyMethod.ESTIMATED: "assumed power: an estimate",
}


def write_report(run_dir: Path) -> Path | None:
    """Write a run's page beside its events; None if nothing has happened there, or it is full.

    Works for a run that is under way or has failed: what is not there is not shown.
    """
    run = read_run(run_dir)
    if run is None:
        return None
    path = run_dir / REPORT_FILE
    try:
        write_atomically(path, render(run_page(run)))
    except OSError:
        # The page is about the run; that it cannot be written must not hide how the run ended.
        return None
    return path


def run_page(run: RunFiles) -> Page:
    """Lay the page out."""
    sections = []
    if charts := run_charts(run):
        sections.append(Section("How it went", [Charts(charts)]))
    sections.append(Section("What happened", [*history(run), *tracebacks(run)]))
    if run.telemetry is not None:
        sections.append(Section("Workers", [_workers(run.telemetry.ranks)]))
    sections += _surroundings(run)
    if run.spec_yaml:
        sections.append(
            Section("How to do it again", [
                Prose("Submitting this spec with the same data and code repeats the run."),
                Details("The resolved spec", run.spec_yaml),
            ])
        )  # fmt: skip
    return Page(
        title=run.run_id,
        subtitle=_subtitle(run),
        tiles=[*_quality_tiles(run), *_cost_tiles(run), *_attempt_tiles(run)],
        sections=sections,
    )


def _subtitle(run: RunFiles) -> str:
    parts = [outcome_sentence(run)]
    dataset = _mapping(run.result.get("dataset"))
    if "name" in dataset:
        parts.append(f"data {dataset['name']}")
    spec = _mapping(run.result.get("spec"))
    if "precision" in spec:
        parts.append(str(spec["precision"]))
    if attempts := run.of_kind("attempt"):
        device = _mapping(attempts[-1].get("device"))
        name = device.get("marketing_name") or device.get("accelerator")
        workers = count_workers(attempts[-1])
        parts.append(f"{workers} on {name}" if name else workers)
    if run.events:
        began = datetime.fromtimestamp(run.events[0]["time"], UTC)
        parts.append(f"began {began:%Y-%m-%d %H:%M:%S} UTC")
    return " · ".join(parts)


def _quality_tiles(run: RunFiles) -> list[Tile]:
    name = quality_metric(run)
    metrics = _mapping(run.result.get("metrics"))
    epochs = run.of_kind("epoch")
    if name is None or (not metrics and not epochs):
        return [Tile("quality", None, "no epoch was completed")]
    value = number(metrics or epochs[-1], name)
    note = "validation, at the end" if metrics else f"validation, epoch {epochs[-1].get('epoch')}"
    return [Tile(name, None if value is None else f"{value:.5g}", note)]


def _cost_tiles(run: RunFiles) -> list[Tile]:
    told = run.telemetry
    paced = run.of_kind("progress", "epoch")
    rate = told.samples_per_s if told else number(paced[-1], "samples_per_s") if paced else None
    tokens = told.tokens_per_s if told else number(paced[-1], "tokens_per_s") if paced else None
    tiles = [
        Tile("samples per second", f"{rate:,.0f}", f"{tokens:,.0f} tokens/s" if tokens else "")
        if rate
        else Tile("samples per second", None, "no step was timed")
    ]
    if told is None:
        return [*tiles, *_last_heard(paced)]
    times = told.step_times
    tiles += [
        Tile("step time, median", f"{times.p50_ms:.3g} ms" if times.num_steps else None,
             f"99% within {times.p99_ms:.3g} ms" if times.num_steps else "no step was timed"),
        Tile("waiting for data", percent(told.data_wait_share), "of the time of its steps"),
        _mfu_tile("MFU, of the peak", told.mfu_peak, told.peak_tflops, run),
        _mfu_tile("MFU, of what is achieved", told.mfu_achieved, told.achieved_tflops, run),
        _energy_tile(told.energy, told.joules_per_sample),
        Tile("peak memory", f"{told.peak_memory_gib:.3g} GiB", "largest worker"),
    ]  # fmt: skip
    if told.throttled_share is not None:
        tiles.append(Tile("clock held back", percent(told.throttled_share), "of the looks at it"))
    return tiles


def _last_heard(paced: Sequence[Event]) -> list[Tile]:
    """Before a good end: the newest live numbers."""
    live = paced[-1] if paced else {}
    step_ms, share = number(live, "step_ms"), number(live, "data_wait_share")
    tiles = [
        Tile("step time, median", f"{step_ms:.3g} ms", "last heard of") if step_ms else None,
        Tile("waiting for data", percent(share), "last heard of") if share is not None else None,
        *(Tile(name, None, _UNFINISHED) for name in ("MFU", "energy", "peak memory")),
    ]
    return [tile for tile in tiles if tile is not None]


def _mfu_tile(name: str, share: float | None, rate: float | None, run: RunFiles) -> Tile:
    told = run.telemetry
    if share is None or rate is None or told is None:
        counted = told is not None and told.flops_per_sample is not None
        return Tile(name, None, _UNKNOWN if rate is None or counted else "operations not counted")
    done = told.achieved_tflops_per_worker or 0.0
    return Tile(name, percent(share), f"{done:.3g} of {rate:,.4g} TFLOPS per worker")


def _energy_tile(energy: Energy | None, joules_per_sample: float | None) -> Tile:
    if energy is None:
        return Tile("energy", None, _UNKNOWN)
    each = f"{quantity(joules_per_sample, 'J')} per sample, " if joules_per_sample else ""
    note = f"{each}{quantity(energy.mean_power_w, 'W')}; {_METHODS[energy.method]}"
    return Tile("energy", quantity(energy.joules, "J"), note)


def _attempt_tiles(run: RunFiles) -> list[Tile]:
    failures = len(run.of_kind("failure"))
    attempts = len(run.of_kind("attempt"))
    note = f"{failures} failure{'s' * (failures != 1)}" if failures else ""
    tiles = [Tile("attempts", str(attempts), note, is_alarm=has_failed(run))]
    duration_s = number(run.result, "duration_s")
    if duration_s is not None:
        tiles.append(Tile("duration", format_seconds(duration_s), "all attempts"))
    return tiles


def _workers(ranks: tuple[RankTelemetry, ...]) -> Table:
    def row(rank: RankTelemetry) -> tuple[str, ...]:
        device = rank.device.marketing_name or rank.device.accelerator
        address = f" {rank.device.bdf}" if rank.device.bdf else ""
        times = rank.step_times
        energy = quantity(rank.energy.joules, "J") if rank.energy else "not known"
        return (
            str(rank.rank),
            f"{rank.host}, {device}{address}",
            f"{times.p50_ms:.3g}",
            f"{times.p99_ms:.3g}",
            percent(rank.data_wait_share),
            f"{rank.peak_memory_gib:.3g}",
            energy,
            "not known" if rank.throttled_share is None else percent(rank.throttled_share),
        )

    columns = ("worker", "device", "median ms", "99% ms", "waiting", "GiB", "energy", "held back")
    return Table(columns, [row(rank) for rank in ranks], numbers=frozenset(range(2, 8)))


def _surroundings(run: RunFiles) -> list[Section]:
    """Hardware, libraries, code and data, as far as they were written down."""
    provenance = _mapping(run.result.get("provenance"))
    environment = _mapping(provenance.get("environment"))
    devices = [_mapping(event.get("device")) for event in run.of_kind("attempt")]
    facts: dict[str, Any] = {
        **(devices[-1] if devices else {}),
        **_mapping(provenance.get("hardware")),
        **{name: environment[name] for name in _LIBRARIES if name in environment},
        "git commit": provenance.get("git_commit"),
        "code package": provenance.get("code_package"),
        **{f"data: {name}": value for name, value in _mapping(run.result.get("dataset")).items()},
        "spec fingerprint": run.result.get("spec_fingerprint"),
        "teacher": _teacher(run),
    }
    rows = [
        (name.replace("_", " "), str(value))
        for name, value in facts.items()
        if isinstance(value, str | int | float)
    ]
    if not rows:
        return []
    blocks: list[Table | Details] = [Table(("fact", "value"), rows)]
    if environment:
        versions = "\n".join(f"{name} {version}" for name, version in environment.items())
        blocks.append(Details(f"All {len(environment)} installed distributions", versions))
    return [Section("Hardware and environment", blocks)]


def _teacher(run: RunFiles) -> str | None:
    teacher = _mapping(run.result.get("teacher"))
    return f"{teacher.get('name')}@{teacher.get('version')}" if teacher else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
