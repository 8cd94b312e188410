"""How the workers of a probe act together: the first says what to do, and all of them do it."""

from __future__ import annotations

import math
import os
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from enum import IntEnum

import torch
import torch.distributed as dist

from raymi.accelerators.catalog import find
from raymi.accelerators.environment import machine_index
from raymi.accelerators.meters.choice import open_meter
from raymi.accelerators.meters.protocol import Meter, Reading
from raymi.sweep.probe.disturbance import Usage, foreign_share, host, look
from raymi.sweep.probe.plan import ProbePlan
from raymi.sweep.probe.rig import Rig
from raymi.train.launcher import Launcher


class Order(IntEnum):
    """What the first worker may say."""

    LEAVE = 0
    STEP = 1
    """Do some steps of a setting."""

    TRY = 2
    """One pass of few rows: the micro-batch is the order's own."""

    FORGET = 3
    """Let go of all rigs but this many."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of some steps, over all workers of the setting."""

    duration_s: float
    foreign_share: float
    throttled: bool
    energy_j: float | None
    peak_gib: float | None


class Crew:
    """All workers, as each of them sees it."""

    def __init__(self, plan: ProbePlan, launcher: Launcher) -> None:
        """Meet; all workers do.

        Args:
            plan: What is probed.
            launcher: Who this worker is.
        """
        self._plan = plan
        self._launcher = launcher
        self._device = launcher.device
        self._rigs: OrderedDict[tuple[str, bool], Rig] = OrderedDict()
        self._most_rigs = len(plan.settings) + 1
        self._meter = _open_meter(plan, launcher)
        self._machine = zlib.crc32(host().encode())
        self._groups: dict[int, dist.ProcessGroup] = {}
        if launcher.world_size > 1:
            sizes = {s.num_workers for s in plan.settings} - {1, launcher.world_size}
            # Everybody takes part in making each, also who is not in it.
            self._groups = {size: dist.new_group(list(range(size))) for size in sorted(sizes)}

    @property
    def meter_name(self) -> str | None:
        """Where energy comes from; None if it would be a guess."""
        has_counter = self._meter.name not in ("estimate", "none")
        return self._meter.name if has_counter and _tells(self._meter) else None

    def close(self) -> None:
        """Let go of everything."""
        self._rigs.clear()
        self._meter.close()

    def follow(self) -> None:
        """Do what the first worker says until it says to leave."""
        while True:
            order, *rest = self._share([0] * 5)
            if order == Order.LEAVE:
                return
            self._obey(Order(order), rest)

    def leave(self) -> None:
        """Tell everybody that it is over."""
        self._share([Order.LEAVE, 0, 0, 0, 0])

    def step(self, setting: int, num_steps: int, *, is_control: bool = False) -> Turn:
        """Have a setting do some steps."""
        return self._tell(Order.STEP, setting, num_steps, int(is_control), 0)

    def attempt(self, setting: int, *, num_rows: int) -> Turn:
        """Have a setting do one step of one pass with so few rows."""
        return self._tell(Order.TRY, setting, 1, 0, num_rows)

    def keep_rigs(self, most: int) -> None:
        """How many networks may stay in memory."""
        self._tell(Order.FORGET, most, 0, 0, 0)

    def rig(self, setting: int, *, is_control: bool = False) -> Rig:
        """This worker's network of a setting, built if need be."""
        key = (self._plan.state_of(setting), is_control)
        if key in self._rigs:
            self._rigs.move_to_end(key)
            return self._rigs[key]
        while len(self._rigs) >= self._most_rigs:
            self._rigs.popitem(last=False)
        num_workers = self._plan.setting(setting).num_workers
        self._rigs[key] = Rig(
            self._plan.plan(setting),
            device=self._device,
            rank=self._launcher.rank,
            num_workers=num_workers,
            group=self._groups.get(num_workers),
        )
        return self._rigs[key]

    def has_rig(self, setting: int, *, is_control: bool = False) -> bool:
        """Whether it is there without building."""
        return (self._plan.state_of(setting), is_control) in self._rigs

    def _tell(self, order: Order, *rest: int) -> Turn:
        return self._obey(order, self._share([order, *rest])[1:])

    def _obey(self, order: Order, rest: list[int]) -> Turn:
        if order is Order.FORGET:
            self._most_rigs = rest[0]
            while len(self._rigs) > self._most_rigs:
                self._rigs.popitem(last=False)
            return Turn(0.0, 0.0, throttled=False, energy_j=None, peak_gib=None)
        index, num_steps, is_control, num_rows = rest
        setting = self._plan.setting(index)
        takes_part = self._launcher.rank < setting.num_workers
        self._reset_peak()
        # Built before the clock starts.
        rig = self.rig(index, is_control=bool(is_control)) if takes_part else None
        reading, before = self._meter.read(), look()
        duration_s = 0.0
        if rig is not None:
            duration_s = rig.run(
                micro_batch_size=num_rows or setting.micro_batch_size,
                num_passes=1 if num_rows else setting.accumulation_steps,
                num_steps=num_steps,
            )
        after = look()
        return self._sum_up(duration_s, before, after, (reading, self._meter.read()), takes_part)

    def _sum_up(
        self,
        duration_s: float,
        before: Usage,
        after: Usage,
        readings: tuple[Reading, Reading],
        takes_part: bool,
    ) -> Turn:
        energy_j = _energy_j(readings) if self._counts_energy(takes_part=takes_part) else 0.0
        own = [
            after.own_s - before.own_s,
            float(self._machine),
            math.nan if energy_j is None else energy_j,
            float(bool(readings[1].throttled)) if takes_part else 0.0,
            self._peak_gib() if takes_part else 0.0,
        ]
        everybody = self._gather(own)
        group_own_s = sum(one[0] for one in everybody if one[1] == own[1])
        energy = sum(one[2] for one in everybody)
        peak = max(one[4] for one in everybody)
        return Turn(
            duration_s=duration_s,
            foreign_share=foreign_share(before, after, group_own_s=group_own_s),
            throttled=any(one[3] > 0 for one in everybody),
            energy_j=None if math.isnan(energy) or self.meter_name is None else energy,
            peak_gib=peak or None,
        )

    def _counts_energy(self, *, takes_part: bool) -> bool:
        """CPU counters are of the whole machine: one worker reads them for all."""
        is_cpu = self._device.type == "cpu"
        return self._launcher.rank == 0 if is_cpu else takes_part

    def _share(self, numbers: list[int]) -> list[int]:
        """The first worker's numbers, for all."""
        if self._launcher.world_size == 1:
            return numbers
        shared = torch.tensor(numbers, dtype=torch.int64, device=self._device)
        dist.broadcast(shared, src=0)
        return [int(number) for number in shared.tolist()]

    def _gather(self, numbers: list[float]) -> list[list[float]]:
        if self._launcher.world_size == 1:
            return [numbers]
        own = torch.tensor(numbers, dtype=torch.float64, device=self._device)
        found = [torch.empty_like(own) for _ in range(self._launcher.world_size)]
        dist.all_gather(found, own)
        return [one.tolist() for one in found]

    def _reset_peak(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def _peak_gib(self) -> float:
        if self._device.type != "cuda":
            return 0.0
        return torch.cuda.max_memory_reserved(self._device) / (1 << 30)


def _open_meter(plan: ProbePlan, launcher: Launcher) -> Meter:
    accelerator = find(plan.accelerator)
    index: int | None = None
    if launcher.device.index is not None:
        index = machine_index(accelerator, launcher.device.index, os.environ)
    return open_meter(accelerator, index=launcher.local_rank if index is None else index)


def _tells(meter: Meter) -> bool:
    reading = meter.read()
    return not reading.is_estimate and (reading.energy_j is not None or reading.power_w is not None)


def _energy_j(readings: tuple[Reading, Reading]) -> float | None:
    """Of a counter, else of power at both ends; None if neither is there."""
    first, last = readings
    if first.energy_j is not None and last.energy_j is not None:
        return last.energy_j - first.energy_j
    if first.power_w is None or last.power_w is None:
        return None
    return (first.power_w + last.power_w) / 2.0 * (last.time_s - first.time_s)
