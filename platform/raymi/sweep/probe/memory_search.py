"""Which micro-batches to measure, in which order, and what follows for those that were not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from raymi.sweep.evidence import MemoryPoint, ProbeEvidence
from raymi.sweep.probe import journal
from raymi.sweep.probe.journal import ProbeJournal
from raymi.sweep.probe.memory import OUT_OF_MEMORY
from raymi.sweep.probe.memory_model import MemoryLine, fit, largest_that_fits
from raymi.sweep.probe.plan import ProbePlan
from raymi.sweep.setting import Setting


class Measures(Protocol):
    """Whoever measures one micro-batch in a fresh process."""

    def peak_gib(
        self, setting: int, micro_batch_size: int, *, limit_gib: float | None
    ) -> tuple[float | None, str | None]:
        """Peak memory, or None and why there is none."""


class MemorySearch:
    """Measures the smallest, the middle and the largest micro-batch of each network; if the
    largest does not fit, searches for the one that does."""

    def __init__(
        self, plan: ProbePlan, pen: ProbeJournal, look_at: Callable[[Setting], None]
    ) -> None:
        self._plan = plan
        self._journal = pen
        self._look_at = look_at

    def is_needed(self, alive: Sequence[Setting], evidence: ProbeEvidence) -> bool:
        """Whether anything is left to measure."""
        measured = {point.setting for point in evidence.memory}
        return any(
            not measured & {setting.index for setting in settings}
            for settings in self._families(alive).values()
        )

    def run(
        self,
        probe: Measures,
        alive: Sequence[Setting],
        evidence: ProbeEvidence,
        is_over: Callable[[], bool],
    ) -> Iterator[tuple[list[Setting], str]]:
        """Measure; yields settings that do not fit, and why."""
        known = {point.setting: point.peak_gib for point in evidence.memory}
        for settings in self._families(alive).values():
            if is_over():
                return
            yield from self._search(probe, settings, known)

    def lines(self, evidence: ProbeEvidence) -> dict[str, MemoryLine]:
        """The line of each network that has one."""
        peaks: dict[str, list[tuple[int, float]]] = {}
        for point in evidence.memory:
            if point.peak_gib is not None:
                family = self._family(self._plan.setting(point.setting))
                peaks.setdefault(family, []).append((point.micro_batch_size, point.peak_gib))
        return {name: line for name, points in peaks.items() if (line := fit(points)) is not None}

    def _search(
        self, probe: Measures, settings: Sequence[Setting], known: dict[int, float | None]
    ) -> Iterator[tuple[list[Setting], str]]:
        by_size: dict[int, list[Setting]] = {}
        for setting in settings:
            by_size.setdefault(setting.micro_batch_size, []).append(setting)
        sizes = sorted(by_size)
        peaks: dict[int, float | None] = {
            size: known[group[0].index]
            for size, group in by_size.items()
            if group[0].index in known
        }
        whys: dict[int, str] = {}

        def fits(size: int) -> bool:
            if size not in peaks:
                peaks[size], why = self._measure(probe, by_size[size])
                if why is not None:
                    whys[size] = why
            return peaks[size] is not None

        for size in dict.fromkeys([sizes[0], sizes[len(sizes) // 2], sizes[-1]]):
            if not fits(size):
                break
        limit = self._plan.memory_limit_gib
        line = fit([(size, peak) for size, peak in peaks.items() if peak is not None])
        guess = line.largest_micro_batch(limit) if line and limit is not None else None
        largest = (
            largest_that_fits(sizes, fits, guess=guess) if None in peaks.values() else sizes[-1]
        )
        for size in sizes:
            if largest is None or size > largest:
                yield by_size[size], self._why(size, whys.get(size), line)

    def _why(self, size: int, why: str | None, line: MemoryLine | None) -> str:
        if why is not None and why != OUT_OF_MEMORY:
            return why
        limit = self._plan.memory_limit_gib
        room = f" of {limit:.2f} GiB" if limit is not None else ""
        predicted = f", about {line.peak_gib(size):.2f} GiB needed" if line else ""
        return f"{OUT_OF_MEMORY}{room}{predicted}"

    def _measure(
        self, probe: Measures, settings: Sequence[Setting]
    ) -> tuple[float | None, str | None]:
        """Once for all settings of this size: other workers change nothing about one's memory."""
        first = settings[0]
        self._look_at(first)
        began = time.monotonic()
        peak, why = probe.peak_gib(
            first.index, first.micro_batch_size, limit_gib=self._plan.memory_limit_gib
        )
        duration_s = time.monotonic() - began
        for setting in settings:
            point = MemoryPoint(
                setting=setting.index,
                micro_batch_size=setting.micro_batch_size,
                peak_gib=peak,
                duration_s=duration_s if setting is first else 0.0,
            )
            self._journal.measured(journal.MEMORY, point)
        return peak, why

    def _families(self, alive: Sequence[Setting]) -> dict[str, list[Setting]]:
        """Settings that differ in micro-batch and workers only."""
        found: dict[str, list[Setting]] = {}
        for setting in alive:
            found.setdefault(self._family(setting), []).append(setting)
        return found

    def _family(self, setting: Setting) -> str:
        document = self._plan.plan(setting.index).spec.to_document()
        for section in ("batch", "resources"):
            document.pop(section)
        return json.dumps(document, sort_keys=True)
