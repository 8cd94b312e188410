"""Peak memory of every setting: measured if possible, else on the line through measured points."""

from __future__ import annotations

from raymi.accelerators.catalog import CATALOG
from raymi.accelerators.rates import board
from raymi.sweep.decision.case import Case
from raymi.sweep.evidence import MemoryPoint
from raymi.sweep.probe.memory_model import MemoryLine, fit
from raymi.sweep.setting import Setting
from raymi.sweep.verdicts import MemoryModel

THIS = "this"
"""Stands for the accelerator of the sweep."""


def list_memory_models(case: Case) -> tuple[MemoryModel, ...]:
    """A line for each network, precision and number of workers with two sizes measured."""
    models = []
    seen: set[str] = set()
    for setting in case.settings:
        line = _line(case, setting)
        group = case.memory_group(setting)
        if line is not None and group not in seen:
            seen.add(group)
            models.append(
                MemoryModel(
                    numerics=setting.numerics,
                    num_workers=setting.num_workers,
                    fixed_gib=line.fixed_gib,
                    per_sample_gib=line.per_sample_gib,
                    max_error=line.max_error,
                    largest_micro_batch=_largest_micro_batches(case, line),
                )
            )
    return tuple(models)


def peak_memory_gib(case: Case, setting: Setting) -> float | None:
    """Of a fresh process, else on the line, else of the device while it was timed; None: unknown.

    Windows come last, because one process may hold several networks while it takes them.
    """
    measured = [
        point.peak_gib
        for point in _points(case, setting)
        if point.micro_batch_size == setting.micro_batch_size and point.peak_gib is not None
    ]
    if measured:
        return max(measured)
    if (line := _line(case, setting)) is not None:
        return line.peak_gib(setting.micro_batch_size)
    device = [
        window.peak_gib
        for window in case.evidence.probe.windows
        if window.setting == setting.index and window.peak_gib is not None
    ]
    return max(device, default=None)


def did_not_fit(case: Case, setting: Setting) -> bool:
    """Whether a micro-batch no larger than its own ran out of memory."""
    return any(
        point.peak_gib is None and point.micro_batch_size <= setting.micro_batch_size
        for point in _points(case, setting)
    )


def _points(case: Case, setting: Setting) -> list[MemoryPoint]:
    group = case.memory_group(setting)
    return [
        point
        for point in case.evidence.probe.memory
        if case.memory_group(case.settings[point.setting]) == group
    ]


def _line(case: Case, setting: Setting) -> MemoryLine | None:
    return fit(
        [
            (point.micro_batch_size, point.peak_gib)
            for point in _points(case, setting)
            if point.peak_gib is not None
        ]
    )


def _largest_micro_batches(case: Case, line: MemoryLine) -> dict[str, int]:
    """Here and on every device whose memory is known, with the headroom of the sweep."""
    share = 1.0 - case.spec.probe.memory_headroom
    boards = {name: board(accelerator) for name, accelerator in CATALOG.items()}
    limits_gib = {name: known.memory_gib * share for name, known in boards.items() if known}
    if case.evidence.probe.memory_limit_gib is not None:
        limits_gib = {THIS: case.evidence.probe.memory_limit_gib, **limits_gib}
    return {name: line.largest_micro_batch(limit) for name, limit in limits_gib.items()}
