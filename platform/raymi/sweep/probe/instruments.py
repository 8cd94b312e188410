"""What one worker reads while steps are timed: energy, throttling, memory, and the CPUs."""

from __future__ import annotations

import dataclasses
import math
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch

from raymi.accelerators.catalog import Accelerator, find
from raymi.accelerators.environment import machine_index
from raymi.accelerators.inventory import describe_device
from raymi.accelerators.meters.choice import open_meter
from raymi.accelerators.meters.protocol import Meter, Reading
from raymi.sweep.probe.disturbance import Spell, between, foreign_share, host, look
from raymi.train.launcher import Launcher

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of some steps, over all workers of the setting."""

    duration_s: float
    """By the first worker's clock."""

    foreign_share: float | None
    """Of the CPUs, used by others; None where CPUs do not do the work."""

    throttled: bool
    energy_j: float | None
    peak_gib: float | None
    """Of a device; None on CPUs."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one worker saw of some steps, as numbers that it can send."""

    machine: float
    num_cpus: float
    span_s: float
    busy_s: float
    own_s: float
    energy_j: float
    """Not a number: not measured. 0 for a worker whose energy another one counts."""

    throttled: float
    peak_gib: float
    """0 on CPUs, and of workers that took no part."""

    def numbers(self) -> list[float]:
        """To send."""
        return [float(value) for value in dataclasses.astuple(self)]

    @classmethod
    def of(cls, numbers: Iterable[float]) -> Self:
        """As it was sent."""
        return cls(*numbers)

    @property
    def spell(self) -> Spell:
        """Its part about CPUs."""
        return Spell(int(self.machine), int(self.num_cpus), self.span_s, self.busy_s, self.own_s)


class Instruments:
    """Of one worker."""

    def __init__(self, accelerator: str, launcher: Launcher) -> None:
        self._accelerator = find(accelerator)
        self._device = launcher.device
        self._is_first_of_node = launcher.local_rank == 0
        self._meter = _open_meter(self._accelerator, launcher)
        self._machine = zlib.crc32(host().encode())
        self.meter_name = self._meter.name if _tells_energy(self._meter) else None
        """Where energy comes from; None if it would be a guess, or another device's too."""

    def begin(self) -> None:
        """Steps are about to be timed."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._reading, self._usage = self._meter.read(), look()

    def end(self, *, takes_part: bool) -> Observation:
        """They are over.

        Args:
            takes_part: Whether this worker did any.
        """
        spell = between(self._usage, look(), machine=self._machine)
        reading = self._meter.read()
        return Observation(
            machine=spell.machine,
            num_cpus=spell.num_cpus,
            span_s=spell.span_s,
            busy_s=spell.busy_s,
            own_s=spell.own_s,
            energy_j=self._energy_j(reading, takes_part=takes_part),
            throttled=float(takes_part and bool(reading.throttled)),
            peak_gib=self._peak_gib() if takes_part else 0.0,
        )

    def sum_up(self, duration_s: float, observations: Iterable[Observation]) -> Turn:
        """Put together what all workers saw."""
        seen = list(observations)
        energy_j = sum(one.energy_j for one in seen)
        on_cpu = self._device.type == "cpu"
        return Turn(
            duration_s=duration_s,
            foreign_share=foreign_share(one.spell for one in seen) if on_cpu else None,
            throttled=not on_cpu and any(one.throttled for one in seen),
            energy_j=None if math.isnan(energy_j) else energy_j,
            peak_gib=max(one.peak_gib for one in seen) or None,
        )

    def machine_line(self) -> list[str]:
        """What must stay the same for times to be comparable."""
        if self._device.type == "cuda":
            name = torch.cuda.get_device_name(self._device)
        else:
            name = describe_device(self._accelerator, index=0).marketing_name or ""
        return [host(), name, torch.__version__]

    def close(self) -> None:
        """Let go of the meter."""
        self._meter.close()

    def _energy_j(self, last: Reading, *, takes_part: bool) -> float:
        # Counters of CPUs are of the whole machine: one worker reads them for all of its node.
        counts = self._is_first_of_node if self._device.type == "cpu" else takes_part
        if not counts:
            return 0.0
        first = self._reading
        if self.meter_name is None:
            return math.nan
        if first.energy_j is not None and last.energy_j is not None:
            return last.energy_j - first.energy_j
        if first.power_w is None or last.power_w is None:
            return math.nan
        return (first.power_w + last.power_w) / 2.0 * (last.time_s - first.time_s)

    def _peak_gib(self) -> float:
        if self._device.type != "cuda":
            return 0.0
        return torch.cuda.max_memory_reserved(self._device) / _GIB


def _open_meter(accelerator: Accelerator, launcher: Launcher) -> Meter:
    index: int | None = None
    if launcher.device.index is not None:
        index = machine_index(accelerator, launcher.device.index, os.environ)
    return open_meter(accelerator, index=launcher.local_rank if index is None else index)


def _tells_energy(meter: Meter) -> bool:
    reading = meter.read()
    is_known = reading.energy_j is not None or reading.power_w is not None
    return is_known and not reading.is_estimate and meter.num_sharing == 1
