"""Which settings go on to the next round of windows, and when the race is over: pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from raymi.significance.interval import order_interval
from raymi.sweep.evidence import Window

FIRST_CUT = 4
"""Rounds before anybody is dropped."""

CLEARLY_SLOWER = 0.9
"""Of the fastest of the same state: whoever stays below in nearly every round is dropped."""

KEPT = 2
"""Of the fastest of each state, however they compare."""

PRECISE = 0.02
"""Relative width of an interval below which nothing more is to be learned."""

MIN_ROUNDS = 6
"""Fewer have no 95% interval."""


def speeds(windows: Sequence[Window], samples: Mapping[int, int]) -> dict[int, dict[int, float]]:
    """Setting -> round -> samples/s of its windows that count; of several, the last.

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
    by_round: Mapping[int, Mapping[int, float]],
    states: Sequence[Sequence[int]],
    *,
    protected: Collection[int],
    keeps_slow: bool,
) -> set[int]:
    """Settings that have lost against the fastest of their own state, or whose state has lost.

    Args:
        by_round: See `speeds`; settings that are still in the race.
        states: Settings that share a network and a precision, the reference's first.
        protected: Never dropped.
        keeps_slow: Whether a state that is slower than the reference's stays all the same.
    """
    fastest: list[int] = []
    dropped: set[int] = set()
    for state in states:
        alive = [index for index in state if by_round.get(index)]
        if not alive:
            continue
        ordered = sorted(alive, key=lambda i: -float(np.median(list(by_round[i].values()))))
        fastest.append(ordered[0])
        dropped |= {i for i in ordered[KEPT:] if _has_lost(by_round[i], by_round[ordered[0]])}
        if not keeps_slow and _has_lost(by_round[ordered[0]], by_round[fastest[0]]):
            dropped |= set(alive)
    return dropped - set(protected)


def _has_lost(ours: Mapping[int, float], best: Mapping[int, float]) -> bool:
    """Whether one was clearly slower in all shared rounds but one."""
    ratios = [ours[r] / best[r] for r in sorted(ours.keys() & best.keys())]
    return len(ratios) >= FIRST_CUT and float(np.sort(ratios)[-2]) < CLEARLY_SLOWER


def is_over(by_round: Mapping[int, Mapping[int, float]]) -> bool:
    """Whether every setting in the race is known precisely."""
    for rounds in by_round.values():
        values = list(rounds.values())
        if len(values) < MIN_ROUNDS:
            return False
        interval = order_interval(values)
        if interval.high - interval.low > PRECISE * interval.median:
            return False
    return bool(by_round)


def is_steady(step_s: Sequence[float]) -> bool:
    """Whether the last steps of a warm-up are no faster than those before them."""
    if len(step_s) < 3:
        return False
    return step_s[-1] >= 0.9 * min(step_s[:-1])
