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
    """Of a counter that only grows, of the whole package; its zero means nothing."""

    power_w: float | None = None
    """At this moment, of the whole package; of a counter alone, the mean since the last reading."""

    memory_used_gib: float | None = None
    """Device memory in use, by everybody."""

    temperature_c: float | None = None
    """Of the hottest sensor."""

    clock_mhz: float | None = None
    """Compute clock; of the slowest die, where there are several."""

    throttled: bool | None = None
    """Whether power, heat or current limited the clock at this moment or since the last reading."""

    is_estimate: bool = False
    """Whether `power_w` was assumed and not measured."""


class Meter(Protocol):
    """The instruments of one device.

    Reading never raises: what cannot be read is None, and is asked for again the next time. After
    `close` a reading has its time and nothing else.
    """

    name: str
    """Where readings come from: `amdsmi`, `nvml`, `rapl`, `estimate`, `fake`."""

    num_sharing: int
    """Devices in the package that power and energy are of: more than 1 when it is partitioned."""

    def read(self) -> Reading:
        """Look now; takes milliseconds at most."""

    def close(self) -> None:
        """Let go of the library; later calls do nothing."""
