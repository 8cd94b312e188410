"""Which micro-batches to measure, in which order, and what follows for those that were not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from raymi.sweep.evidence import MemoryPoint
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
    """Measures the smallest, the middle and the largest micro-batch of each state; if the largest
    does not fit, searches for the one that does."""

    def __init__(
        self, plan: ProbePlan, pen: ProbeJournal, measures: Measures, is_over: Callable[[], bool]
    ) -> None:
        self._plan = plan
        self._journal = pen
        self._measures = measures
        self._is_over = is_over

    def run(self, alive: Iterable[Setting]) -> None:
        """Measure what is not measured yet, and fail what does not fit.

        Args:
            alive: Settings that nothing speaks against.
        """
        for settings in by_state(self._plan, alive).values():
            if self._is_over():
                return
            _Search(self._plan, self._journal, self._measures, settings).run()


class _Search:
    """One state."""

    def __init__(
        self,
        plan: ProbePlan,
        pen: ProbeJournal,
        measures: Measures,
        settings: Sequence[Setting],
    ) -> None:
        self._limit_gib = plan.memory_limit_gib
        self._journal = pen
        self._measures = measures
        self._by_size: dict[int, list[Setting]] = {}
        for setting in settings:
            self._by_size.setdefault(setting.micro_batch_size, []).append(setting)
        state = plan.state_of(settings[0].index)
        self._peaks: dict[int, float | None] = {
            point.micro_batch_size: point.peak_gib
            for point in pen.progress().memory
            if plan.state_of(point.setting) == state
        }
        self._whys: dict[int, str] = {}

    def run(self) -> None:
        sizes = sorted(self._by_size)
        for size in dict.fromkeys([sizes[0], sizes[len(sizes) // 2], sizes[-1]]):
            if not self._fits(size):
                break
        largest: int | None = sizes[-1]
        if None in self._peaks.values():
            line = self._line()
            guess = None
            if line is not None and self._limit_gib is not None:
                guess = line.largest_micro_batch(self._limit_gib)
            largest = largest_that_fits(sizes, self._fits, guess=guess)
        too_large = [size for size in sizes if largest is None or size > largest]
        for size in too_large:
            self._journal.fail(self._by_size[size], self._why(size, too_large[0]))

    def _line(self) -> MemoryLine | None:
        return fit([(size, peak) for size, peak in self._peaks.items() if peak is not None])

    def _fits(self, size: int) -> bool:
        if size not in self._peaks:
            self._peaks[size] = self._measure(size)
        return self._peaks[size] is not None

    def _measure(self, size: int) -> float | None:
        """Once for all settings of this size: other workers change nothing about one's memory."""
        settings = sorted(self._by_size[size], key=lambda s: -s.accumulation_steps)
        self._journal.looking(settings)
        began = time.monotonic()
        peak, why = self._measures.peak_gib(settings[0].index, size, limit_gib=self._limit_gib)
        duration_s = time.monotonic() - began
        if why is not None:
            self._whys[size] = why
        for setting in settings:
            point = MemoryPoint(
                setting=setting.index,
                micro_batch_size=size,
                peak_gib=peak,
                duration_s=duration_s if setting is settings[0] else 0.0,
            )
            self._journal.measured(journal.MEMORY, point)
        return peak

    def _why(self, size: int, smallest: int) -> str:
        """Why a size does not run, of which `smallest` is the smallest."""
        why = self._whys.get(size) or self._whys.get(smallest, OUT_OF_MEMORY)
        if why != OUT_OF_MEMORY:
            return why
        line = self._line()
        parts = [
            f"about {line.peak_gib(size):.2f} GiB needed" if line else "",
            f"a worker may use {self._limit_gib:.2f} GiB" if self._limit_gib else "",
        ]
        told = ", ".join(part for part in parts if part) or f"a micro-batch of {size} does not fit"
        return f"{OUT_OF_MEMORY}: {told}"


def by_state(plan: ProbePlan, settings: Iterable[Setting]) -> dict[str, list[Setting]]:
    """State -> those of its settings, smallest micro-batch first; the reference's comes first."""
    wanted = {setting.index for setting in settings}
    found = {
        state: [setting for setting in everybody if setting.index in wanted]
        for state, everybody in plan.states.items()
    }
    return {state: some for state, some in found.items() if some}


def memory_lines(plan: ProbePlan, points: Iterable[MemoryPoint]) -> dict[str, MemoryLine]:
    """State -> its line, where two sizes were measured."""
    peaks: dict[str, list[tuple[int, float]]] = {}
    for point in points:
        if point.peak_gib is not None:
            state = plan.state_of(point.setting)
            peaks.setdefault(state, []).append((point.micro_batch_size, point.peak_gib))
    return {state: line for state, some in peaks.items() if (line := fit(some)) is not None}


def num_rigs_to_keep(
    lines: Mapping[str, MemoryLine],
    rigs: Sequence[tuple[str, int]],
    *,
    limit_gib: float | None,
) -> int:
    """Networks that may stay in memory at once: all, or as many as fit into half of the limit.

    Args:
        lines: Memory of each state.
        rigs: State and largest micro-batch of each network, the control's among them.
        limit_gib: What a worker may use; None: not known.
    """
    known = [(lines[state], size) for state, size in rigs if state in lines]
    if limit_gib is None or not known:
        return len(rigs)
    # Only one computes at a time.
    activations_gib = max(line.per_sample_gib * size for line, size in known)
    fixed_gib = sorted((line.fixed_gib for line, _ in known), reverse=True)
    if sum(fixed_gib) + activations_gib <= limit_gib / 2:
        return len(rigs)
    return max(1, int((limit_gib / 2 - activations_gib) / fixed_gib[0]))
