"""What a run asks of a device's own instruments: one reading now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at one device. None is "this device, driver or machine does not say"."""

    time_s: float
    """Monotonic clock."""

    energy_j: float | None = None
    """Of a counter that only grows; its zero means nothing."""

    power_w: float | None = None
    """At this moment, of the whole package."""

    memory_used_gib: float | None = None
    """Device memory in use, by everybody."""

    temperature_c: float | None = None
    """Of the hottest sensor."""

    clock_mhz: float | None = None
    """Compute clock; of the slowest die, where there are several."""

    throttled: bool | None = None
    """Whether power, heat or current limit the clock at this moment."""


class Meter(Protocol):
    """The instruments of one device. Reading never raises: what fails is None from then on."""

    name: str
    """Where readings come from: `amdsmi`, `nvml`, `rapl`, `estimate`."""

    def read(self) -> Reading:
        """Look now; takes milliseconds at most."""

    def close(self) -> None:
        """Let go of the library; later calls do nothing."""
