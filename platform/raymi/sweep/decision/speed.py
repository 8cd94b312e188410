"""How fast settings step, which of two is faster, and what is too close to call."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from raymi.significance.interval import Interval, order_interval
from raymi.sweep.decision.case import Case
from raymi.sweep.evidence import Window
from raymi.sweep.verdicts import Timing

MIN_WINDOWS = 2
"""One window has no interval."""

_ENOUGH_FOR_ORDER = 6
"""Values that a 95% interval by order takes."""

_STUDENT_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Number of values -> 97.5% quantile of Student's t with one degree of freedom less."""

_Rounds = Mapping[int, float]


@dataclass(frozen=True)
class Speeds:
    """Samples per second of everything that was timed, round by round."""

    rounds: Mapping[int, _Rounds]
    """Setting -> round -> samples per second of all its workers."""

    control: _Rounds
    """Likewise of a twin."""

    twin_of: int
    """The setting that the twin is identical to."""

    num_rejected: Mapping[int, int]
    """Setting -> windows that do not count."""

    @cached_property
    def noise_floor(self) -> float | None:
        """Relative difference that two equal settings may show; None: the twin was not timed."""
        paired = _paired(self.control, self.rounds.get(self.twin_of, {}))
        interval = _interval(paired)
        return None if interval is None else interval.distance_from_one

    def is_timed(self, setting: int) -> bool:
        """Whether there is enough to say how fast it is."""
        return len(self.rounds.get(setting, {})) >= MIN_WINDOWS

    def of(self, setting: int) -> Interval | None:
        """Samples per second, with a 95% interval of the median; None: not timed."""
        return _interval(list(self.rounds.get(setting, {}).values()))

    def ratio(self, setting: int, other: int) -> Interval | None:
        """Median over rounds of setting / other, with a 95% interval; None: one was not timed.

        What slows the machine down for a while hits both windows of a round. Without two rounds
        in common the two intervals are divided, which is wide.
        """
        paired = _interval(_paired(self.rounds.get(setting, {}), self.rounds.get(other, {})))
        if paired is not None:
            return paired
        ours, theirs = self.of(setting), self.of(other)
        if ours is None or theirs is None:
            return None
        return Interval(
            median=ours.median / theirs.median,
            low=ours.low / theirs.high,
            high=ours.high / theirs.low,
        )

    def cost_ratio(self, setting: int, other: int, times: float) -> Interval:
        """A ratio of what two settings cost, as uncertain as their speeds are.

        Args:
            setting: The one above the line of the ratio of speeds.
            other: The one below.
            times: The ratio itself.
        """
        ratio = self.ratio(setting, other)
        if ratio is None:
            return Interval(times, times, times)
        return Interval(
            median=times,
            low=times * ratio.low / ratio.median,
            high=times * ratio.high / ratio.median,
        )

    def is_within_noise(self, ratio: Interval) -> bool:
        """Whether a ratio of two settings says nothing about which is better."""
        is_undecided = ratio.low <= 1.0 <= ratio.high
        return is_undecided or abs(ratio.median - 1.0) <= (self.noise_floor or 0.0)


def read_speeds(case: Case) -> Speeds:
    """Speeds from the windows that count."""
    windows = case.evidence.probe.windows
    sizes = [setting.global_batch_size for setting in case.settings]
    own = [window for window in windows if not window.is_control]
    control = [window for window in windows if window.is_control]
    # The one that was asked for as reference, even if it has since turned out not to run.
    twin_of = control[0].setting if control else case.reference.index
    return Speeds(
        rounds={
            index: _by_round([w for w in own if w.setting == index], size)
            for index, size in enumerate(sizes)
        },
        control=_by_round(control, sizes[twin_of]),
        twin_of=twin_of,
        num_rejected={
            index: sum(w.setting == index and w.rejected is not None for w in own)
            for index in range(len(sizes))
        },
    )


def list_timings(case: Case, speeds: Speeds) -> tuple[Timing, ...]:
    """How fast each setting is that was timed, and against the fastest of them."""
    found = {
        setting.index: interval
        for setting in case.settings
        if (interval := speeds.of(setting.index)) is not None
    }
    if not found:
        return ()
    fastest = max(found, key=lambda index: (index not in case.dead, found[index].median))
    return tuple(
        Timing(
            setting=index,
            samples_per_s=interval.median,
            low=interval.low,
            high=interval.high,
            num_windows=len(speeds.rounds[index]),
            num_rejected=speeds.num_rejected[index],
            **_of_best(speeds, index, fastest),
        )
        for index, interval in found.items()
    )


def _of_best(speeds: Speeds, index: int, fastest: int) -> dict[str, float | None]:
    paired = _paired(speeds.rounds[index], speeds.rounds[fastest])
    interval = _interval(paired)
    return {
        "of_best": statistics.median(paired) if paired else None,
        "of_best_low": interval.low if interval else None,
        "of_best_high": interval.high if interval else None,
    }


def _by_round(windows: Sequence[Window], global_batch_size: int) -> dict[int, float]:
    """Round -> samples per second; windows of one round are taken together."""
    samples: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for window in windows:
        if window.rejected is None:
            taken = window.num_steps * global_batch_size
            samples[window.round] = samples.get(window.round, 0) + taken
            seconds[window.round] = seconds.get(window.round, 0.0) + window.duration_s
    return {round_: samples[round_] / seconds[round_] for round_ in sorted(samples)}


def _paired(ours: _Rounds, theirs: _Rounds) -> list[float]:
    return [ours[round_] / theirs[round_] for round_ in ours if round_ in theirs]


def _interval(values: Sequence[float]) -> Interval | None:
    """A median and its 95% interval; of fewer than six values by Student's t of logarithms, as
    no two of them in order hold the median that often; None of fewer than two."""
    if len(values) >= _ENOUGH_FOR_ORDER:
        return order_interval(values)
    if len(values) < MIN_WINDOWS:
        return None
    logs = np.log(values)
    reach = _STUDENT_95[len(values)] * float(np.std(logs, ddof=1)) / math.sqrt(len(values))
    centre = float(np.mean(logs))
    return Interval(
        median=statistics.median(values),
        low=math.exp(centre - reach),
        high=math.exp(centre + reach),
    )
