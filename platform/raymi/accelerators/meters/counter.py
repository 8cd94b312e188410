"""Energy counters as hardware has them: they wrap, they are reset, and meters must not show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class GrowingCounter:
    """Turns raw values of a counter into a total that never falls.

    Args:
        wraps_at: The raw value after which the counter starts at zero again; None when it is
            wide enough never to. It must be read more often than it wraps.
    """

    def __init__(self, *, wraps_at: float | None = None) -> None:
        self._wraps_at = wraps_at
        self._last: float | None = None
        self._total = 0.0
        self._is_broken = False

    def total(self, raw: float | None) -> float | None:
        """The total now; None without a value, and for ever after a reset.

        A counter that falls and is not known to wrap was reset, by a driver that restarted: what
        was used in between is lost, so that no difference across it means anything.
        """
        if raw is None or self._is_broken:
            return None
        grown = 0.0 if self._last is None else raw - self._last
        if grown < 0 and self._wraps_at is not None:
            grown += self._wraps_at
        if grown < 0:
            self._is_broken = True
            return None
        self._last = raw
        self._total += grown
        return self._total


def attempt(ask: Callable[[], T]) -> T | None:
    """What a device's library answers, or None when it fails in any of its many ways."""
    try:
        return ask()
    except Exception:  # noqa: BLE001 - vendors raise KeyError, OSError and classes of their own
        return None


def number(value: object, *, scale: float = 1.0) -> float | None:
    """A measured value times `scale`; None for what is not a number, such as "N/A"."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) * scale
