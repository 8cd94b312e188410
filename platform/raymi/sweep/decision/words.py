"""Numbers of a decision in words."""

from __future__ import annotations

from raymi.specs.sweep import Objective

_LARGE = 10.0
_HUGE = 1e5
_LESS_IS_BETTER = {
    Objective.COST_TO_TARGET: "the cost to the target",
    Objective.ENERGY: "the energy",
    Objective.MONEY: "the money",
    Objective.PEAK_MEMORY_GIB: "the memory",
}


def times_of(objective: Objective, advantage: float) -> str:
    """A ratio as people say it; `advantage` is above 1 for the better one. Not for quality."""
    if objective is Objective.SAMPLES_PER_S:
        return f"{advantage:.3g}x the speed"
    return f"{1.0 / advantage:.3g}x {_LESS_IS_BETTER[objective]}"


def quality_text(value: float) -> str:
    """Accuracies and losses to four decimals; an error in a large unit to five digits."""
    if abs(value) >= _HUGE:
        return f"{value:.0f}"
    return f"{value:.5g}" if abs(value) >= _LARGE else f"{value:.4f}"


def listed(names: list[str], *, most: int = 3) -> str:
    """Names in a sentence; the last ones counted where there are many."""
    shown = names[:most]
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    if len(shown) == 1:
        return shown[0]
    return f"{', '.join(shown[:-1])} and {shown[-1]}"
