"""Numbers as people read them: a few digits and an SI prefix."""

from __future__ import annotations

import math

_PREFIXES = {-9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}


def quantity(value: float, unit: str = "", *, digits: int = 3) -> str:
    """`12.3 kJ`, `840 µs`, `1.20M`: a value with its unit, to `digits` significant digits."""
    if not math.isfinite(value):
        return f"{value} {unit}".rstrip()
    rounded = float(f"{value:.{digits - 1}e}")
    power = 0 if rounded == 0 else math.floor(math.log10(abs(rounded)))
    group = min(max(power // 3 * 3, min(_PREFIXES)), max(_PREFIXES))
    decimals = max(0, digits - 1 - (power - group)) if rounded else 0
    gap = " " if unit else ""
    return f"{rounded / 10.0**group:,.{decimals}f}{gap}{_PREFIXES[group]}{unit}"


def percent(share: float) -> str:
    """`2.4%`, `12%`, `99.5%`: one decimal where a whole number would hide something."""
    value = share * 100.0
    whole = 10.0 <= abs(value) < 99.0 or value in (0.0, 100.0)
    return f"{value:.{0 if whole else 1}f}%"
