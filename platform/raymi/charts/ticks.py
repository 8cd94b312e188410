"""Where an axis has its ticks and what is written at them."""

from __future__ import annotations

import math
from dataclasses import dataclass

_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_LARGEST_PLAIN = 1e4
"""Below it, numbers are written out."""
_LARGEST_PREFIXED = 1e18
_SMALLEST_PLAIN = 1e-3
_NARROWEST = 1e-9
"""Ranges narrower than this share of their values are widened: floats would run out of digits."""


@dataclass(frozen=True, slots=True)
class Ticks:
    """Ticks of one axis, in ascending order."""

    values: tuple[float, ...]
    """Where."""

    labels: tuple[str, ...]
    """What is written there."""


def nice_step(span: float, *, target: int) -> float:
    """The smallest of 1, 2, 5 times a power of ten that cuts `span` into at most `target`.

    It cuts it into at least two fifths of that, because neighbours differ by at most 2.5.
    """
    raw = span / target
    power = 10.0 ** math.floor(math.log10(raw))
    return next((m * power for m in (1.0, 2.0, 5.0) if m * power >= raw * (1 - 1e-9)), 10 * power)


def widened(low: float, high: float) -> tuple[float, float]:
    """A range that can be divided: around a single value, there is room on both sides."""
    size = max(abs(low), abs(high))
    if high - low > size * _NARROWEST:
        return low, high
    room = size * 0.1 or 1.0
    return low - room, high + room


def nice_range(
    low: float, high: float, *, target: int = 5, whole: bool = False
) -> tuple[float, float]:
    """The smallest range between ticks that covers `low` to `high`."""
    low, high = widened(low, high)
    step = _step(high - low, target=target, whole=whole)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def linear_ticks(low: float, high: float, *, target: int = 5, whole: bool = False) -> Ticks:
    """Evenly spaced ticks within a range; 2 to `target + 1` of them unless `whole`.

    Args:
        low: Where the axis begins.
        high: Where it ends, above `low`.
        target: Intervals at most.
        whole: Whether only whole numbers make sense, as for epochs.
    """
    step = _step(high - low, target=target, whole=whole)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    decimals = max(0, -_power(step))
    values = tuple(round(index * step, decimals) for index in range(first, last + 1))
    return Ticks(values, tuple(_labels(values, step)))


def log_ticks(low: float, high: float, *, target: int = 6) -> Ticks:
    """Ticks of a logarithmic axis: powers of ten, or 1-2-5 where those are few.

    Args:
        low: Where the axis begins, above 0.
        high: Where it ends, above `low`.
        target: Ticks at most, about.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    inside = (low * (1 - 1e-9), high * (1 + 1e-9))
    every = max(1, math.ceil((last - first) / target))
    decades = [10.0**power for power in range(first, last + 1, every)]
    found = [value for value in decades if inside[0] <= value <= inside[1]]
    if len(found) < 3:
        finer = [
            multiple * 10.0**power for power in range(first, last + 1) for multiple in (1, 2, 5)
        ]
        found = [value for value in finer if inside[0] <= value <= inside[1]]
    if len(found) < 3:
        return linear_ticks(low, high)
    return Ticks(tuple(found), tuple(_labels((value,), value)[0] for value in found))


def _step(span: float, *, target: int, whole: bool) -> float:
    step = nice_step(span, target=target)
    return max(1.0, step) if whole else step


def _power(value: float) -> int:
    return math.floor(math.log10(value) + 1e-9)


def _labels(values: tuple[float, ...], step: float) -> list[str]:
    """One form for all ticks of an axis, with as many digits as tell them apart."""
    size = max((abs(value) for value in values), default=0.0)
    if size >= _LARGEST_PREFIXED or 0 < size < _SMALLEST_PLAIN:
        digits = max(0, _power(size) - _power(step))
        return [_scientific(value, digits) if value else "0" for value in values]
    divisor, prefix = 1.0, ""
    if size >= _LARGEST_PLAIN:
        divisor, prefix = next(pair for pair in _PREFIXES if size >= pair[0])
    decimals = max(0, -_power(step / divisor))
    return [
        f"{value / divisor:,.{decimals}f}{prefix}" if value or not prefix else "0"
        for value in values
    ]


def _scientific(value: float, digits: int) -> str:
    mantissa, _, power = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}e{int(power)}"
