"""Which settings go on to the next round of windows, and when the race is over: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from raymi.significance.interval import order_interval
from raymi.sweep.evidence import Window

FIRST_CUT = 4
"""Rounds before anybody is dropped."""

CLEARLY_SLOWER = 0.9
"""Of the fastest rival: whoever stays below it, interval and all, is dropped."""

KEPT = 2
"""The fastest of each group of rivals, however they compare."""

PRECISE = 0.02
"""Relative width of an interval below which nothing more is to be learned."""

MIN_ROUNDS = 6
"""Fewer have no 95% interval."""

_CUT_CONFIDENCE = 0.85
"""Of four ratios the extremes hold the median with 87.5%, of seven all but the extremes with
87.5% too. A wrong cut costs little: whoever is dropped is 10% slower in nearly every round."""

_STILL_FALLING = 0.95
"""Of the time of earlier steps: warm-up goes on while steps get faster by more than this."""

_FEWEST_STEPS = 3

Speeds = Mapping[int, Mapping[int, float]]
"""Setting -> round -> samples per second."""


def speeds(windows: Iterable[Window], samples: Mapping[int, int]) -> dict[int, dict[int, float]]:
    """Speeds of all windows that count; of several in one round, of the last.

    Args:
        windows: Of all settings; the control's are left out.
        samples: Setting -> samples of one optimizer step.
    """
    found: dict[int, dict[int, float]] = {}
    for window in windows:
        if window.rejected is None and not window.is_control:
            speed = window.num_steps * samples[window.setting] / window.duration_s
            found.setdefault(window.setting, {})[window.round] = speed
    return found


def to_drop(
    by_round: Speeds,
    rivals: Iterable[Sequence[int]],
    *,
    protected: Collection[int],
    keeps_slow: bool,
) -> set[int]:
    """Settings that have lost against the fastest of their rivals, or whose whole group has lost.

    They keep the windows that they have.

    Args:
        by_round: Of the settings in the race.
        rivals: Groups of settings that compute the same, the reference's first.
        protected: Never dropped.
        keeps_slow: Whether a group that is slower than the reference's stays all the same.
    """
    dropped: set[int] = set()
    fastest: list[int] = []
    for group in rivals:
        alive = [index for index in group if by_round.get(index)]
        if not alive:
            continue
        alive.sort(key=lambda index: -float(np.median(list(by_round[index].values()))))
        fastest.append(alive[0])
        dropped |= {
            index for index in alive[KEPT:] if _has_lost(by_round[index], by_round[alive[0]])
        }
        if not keeps_slow and _has_lost(by_round[alive[0]], by_round[fastest[0]]):
            dropped |= set(alive)
    return dropped - set(protected)


def _has_lost(ours: Mapping[int, float], best: Mapping[int, float]) -> bool:
    ratios = [ours[round_] / best[round_] for round_ in ours.keys() & best.keys()]
    if len(ratios) < FIRST_CUT:
        return False
    return order_interval(ratios, confidence=_CUT_CONFIDENCE).high < CLEARLY_SLOWER


def is_over(by_round: Speeds) -> bool:
    """Whether every setting in the race is known precisely."""
    return bool(by_round) and all(_is_precise(list(r.values())) for r in by_round.values())


def _is_precise(values: Sequence[float]) -> bool:
    if len(values) < MIN_ROUNDS:
        return False
    interval = order_interval(values)
    return interval.high - interval.low <= PRECISE * interval.median


def is_steady(step_s: Sequence[float]) -> bool:
    """Whether steps have stopped getting faster, by the times of all steps since the first."""
    if len(step_s) < _FEWEST_STEPS:
        return False
    return step_s[-1] >= _STILL_FALLING * min(step_s[:-1])
