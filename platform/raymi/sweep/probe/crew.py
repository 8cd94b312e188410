"""How the workers of a probe act together: the first says what to do, and all of them do it."""

from __future__ import annotations

from collections import OrderedDict
from datetime import timedelta
from enum import IntEnum

import torch
import torch.distributed as dist

from raymi.sweep.probe.instruments import Instruments, Observation, Turn
from raymi.sweep.probe.plan import ProbePlan
from raymi.sweep.probe.rig import Rig
from raymi.train.launcher import Launcher

_PATIENCE = timedelta(days=1)
"""Others wait while the first worker measures memory or latency. If it dies, they hear at once."""

_NUM_FIELDS = 5


class Order(IntEnum):
    """What the first worker may say."""

    LEAVE = 0
    STEP = 1
    """Do some steps of a setting."""

    KEEP = 2
    """Let go of all networks but this many."""


class Crew:
    """All workers, as each of them sees it.

    Attributes:
        instruments: This worker's.
    """

    def __init__(self, plan: ProbePlan, launcher: Launcher) -> None:
        """Meet; all workers do.

        Args:
            plan: What is probed.
            launcher: Who this worker is.
        """
        self._plan = plan
        self._launcher = launcher
        self._device = launcher.device
        self.instruments = Instruments(plan.accelerator, launcher)
        self._rigs: OrderedDict[tuple[str, int, bool], tuple[int, Rig | None]] = OrderedDict()
        self._num_built = 0
        self._most_rigs: int | None = None
        self._groups: dict[int, dist.ProcessGroup] = {}
        self._talk: dist.ProcessGroup | None = None
        if launcher.world_size > 1:
            # On CPUs, so that waiting for an order occupies no accelerator.
            self._talk = dist.new_group(backend="gloo", timeout=_PATIENCE)
            sizes = {s.num_workers for s in plan.settings} - {1, launcher.world_size}
            # Everybody takes part in making each, also who is not in it.
            self._groups = {size: dist.new_group(list(range(size))) for size in sorted(sizes)}

    def close(self) -> None:
        """Let go of everything."""
        self._rigs.clear()
        self.instruments.close()

    def follow(self) -> None:
        """Do what the first worker says until it says to leave."""
        while True:
            order, *rest = self._share([0] * _NUM_FIELDS)
            if order == Order.LEAVE:
                return
            self._obey(Order(order), rest)

    def leave(self) -> None:
        """Tell everybody that it is over."""
        self._share([Order.LEAVE, *[0] * (_NUM_FIELDS - 1)])

    def step(
        self, setting: int, num_steps: int, *, is_control: bool = False, num_rows: int = 0
    ) -> Turn:
        """Have a setting do some steps.

        Args:
            setting: Its number.
            num_steps: Whole optimizer steps.
            is_control: Whether its twin does them.
            num_rows: Do one pass of so many rows, whatever the setting says; 0: as it says.
        """
        return self._tell(Order.STEP, setting, num_steps, int(is_control), num_rows)

    def keep_rigs(self, most: int) -> None:
        """Let go of all networks but the `most` that were used last, now and from now on."""
        self._tell(Order.KEEP, most, 0, 0, 0)

    def serial(self, setting: int, *, is_control: bool = False) -> int | None:
        """Names the network of a setting until it is built anew; None: it is not there."""
        found = self._rigs.get(self._key(setting, is_control=is_control))
        return None if found is None else found[0]

    def solo(self, setting: int, *, compiles: bool = True) -> Rig:
        """A network of this worker alone, for the caller to keep or to drop."""
        return Rig(self._plan.plan(setting), device=self._device, compiles=compiles)

    def _key(self, setting: int, *, is_control: bool) -> tuple[str, int, bool]:
        return self._plan.state_of(setting), self._plan.setting(setting).num_workers, is_control

    def _tell(self, order: Order, *rest: int) -> Turn:
        return self._obey(order, self._share([order, *rest])[1:])

    def _obey(self, order: Order, rest: list[int]) -> Turn:
        if order is Order.KEEP:
            self._most_rigs = rest[0]
            self._forget(self._most_rigs)
            return Turn(0.0, None, throttled=False, energy_j=None, peak_gib=None)
        index, num_steps, is_control, num_rows = rest
        setting = self._plan.setting(index)
        micro_batch_size = num_rows or setting.micro_batch_size
        num_passes = 1 if num_rows else setting.accumulation_steps
        rig = self._rig(index, is_control=bool(is_control))
        if rig is not None:
            rig.prepare(micro_batch_size=micro_batch_size, num_passes=num_passes)
        if self._talk is not None:
            # Whoever is still building would be timed, too.
            dist.barrier(self._talk)
        self.instruments.begin()
        duration_s = 0.0
        if rig is not None:
            duration_s = rig.run(
                micro_batch_size=micro_batch_size, num_passes=num_passes, num_steps=num_steps
            )
        seen = self.instruments.end(takes_part=rig is not None)
        return self.instruments.sum_up(duration_s, self._gather(seen))

    def _rig(self, index: int, *, is_control: bool) -> Rig | None:
        """This worker's network of a setting, built if need be; None: it takes no part.

        Those who take none keep the same books: all who share a network must build it together.
        """
        key = self._key(index, is_control=is_control)
        if key not in self._rigs:
            if self._most_rigs is not None:
                self._forget(self._most_rigs - 1)
            self._num_built += 1
            self._rigs[key] = self._num_built, self._build(index)
        self._rigs.move_to_end(key)
        return self._rigs[key][1]

    def _build(self, index: int) -> Rig | None:
        num_workers = self._plan.setting(index).num_workers
        if self._launcher.rank >= num_workers:
            return None
        return Rig(
            self._plan.plan(index),
            device=self._device,
            rank=self._launcher.rank,
            num_workers=num_workers,
            group=self._groups.get(num_workers),
        )

    def _forget(self, most: int) -> None:
        while len(self._rigs) > max(0, most):
            self._rigs.popitem(last=False)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _share(self, numbers: list[int]) -> list[int]:
        """The first worker's numbers, for all."""
        if self._talk is None:
            return numbers
        shared = torch.tensor(numbers, dtype=torch.int64)
        dist.broadcast(shared, src=0, group=self._talk)
        return [int(number) for number in shared.tolist()]

    def _gather(self, seen: Observation) -> list[Observation]:
        if self._talk is None:
            return [seen]
        own = torch.tensor(seen.numbers(), dtype=torch.float64)
        found = [torch.empty_like(own) for _ in range(self._launcher.world_size)]
        dist.all_gather(found, own, group=self._talk)
        return [Observation.of(one.tolist()) for one in found]
