"""What a worker's meter said during a run, in bounded memory however long the run."""

from __future__ import annotations

from dataclasses import dataclass

from raymi.accelerators.energy import Energy, energy_between
from raymi.accelerators.meters.protocol import Meter, Reading
from raymi.store.record import Record

_MAX_LOOKS = 4096
"""Looks that are kept; with one more, every other one is dropped and half as many are kept."""
_MAX_POINTS = 240
"""Looks that are written down."""


class TelemetryPoint(Record):
    """The state of one worker at one moment. None is "this device does not say"."""

    time_s: float
    """Seconds since the worker started."""

    step: int
    """Optimizer steps done."""

    power_w: float | None
    """Of the device's whole package, in watts."""

    clock_mhz: float | None
    """Compute clock, in megahertz."""

    temperature_c: float | None
    """Of the hottest sensor, in degrees Celsius."""

    memory_gib: float | None
    """Device memory in use by everybody, in GiB."""

    step_ms: float | None
    """Mean duration of the steps since the last look, in milliseconds; None if there were none."""


@dataclass(frozen=True, slots=True)
class _Look:
    reading: Reading
    num_steps: int
    step_ms: float | None


class InstrumentLog:
    """Looks at one meter, evenly spaced, with the first and the newest among them.

    Args:
        meter: To look at.
        max_looks: How many to keep, at least 3.
    """

    def __init__(self, meter: Meter, *, max_looks: int = _MAX_LOOKS) -> None:
        self.meter = meter
        self._max_looks = max_looks
        self._looks: list[_Look] = []
        self._stride = 1
        self._num_looks = 0
        self._num_verdicts = 0
        self._num_throttled = 0

    def look(self, num_steps: int, step_ms: float | None) -> None:
        """Read the meter now.

        Args:
            num_steps: Optimizer steps done.
            step_ms: Mean duration of those since the last look, in milliseconds.
        """
        reading = self.meter.read()
        if reading.throttled is not None:
            self._num_verdicts += 1
            self._num_throttled += reading.throttled
        if (self._num_looks - 1) % self._stride and self._looks:
            # It was kept as the newest only.
            self._looks.pop()
        self._looks.append(_Look(reading, num_steps, step_ms))
        self._num_looks += 1
        if len(self._looks) > self._max_looks:
            self._looks = [*self._looks[:-1:2], self._looks[-1]]
            self._stride *= 2

    @property
    def power_w(self) -> float | None:
        """Power of the newest look, in watts."""
        return self._looks[-1].reading.power_w if self._looks else None

    @property
    def throttled_share(self) -> float | None:
        """Part of the looks at which the clock was limited; None if the meter never said."""
        return self._num_throttled / self._num_verdicts if self._num_verdicts else None

    def energy(self) -> Energy | None:
        """Energy from the first look to the newest."""
        return energy_between([look.reading for look in self._looks])

    def points(self) -> tuple[TelemetryPoint, ...]:
        """The looks that are written down, with the time since the first."""
        stride = max(1, -(-len(self._looks) // _MAX_POINTS))
        return tuple(
            TelemetryPoint(
                time_s=round(look.reading.time_s - self._looks[0].reading.time_s, 3),
                step=look.num_steps,
                power_w=look.reading.power_w,
                clock_mhz=look.reading.clock_mhz,
                temperature_c=look.reading.temperature_c,
                memory_gib=look.reading.memory_used_gib,
                step_ms=look.step_ms,
            )
            for look in self._looks[::stride]
        )
