"""ProbePlan: everything the workers of a probe need, decided before any of them starts."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property

from raymi.specs.parallelism import Strategy
from raymi.specs.probe import ProbeSpec
from raymi.store.record import Record
from raymi.sweep.setting import Setting
from raymi.train.plan import TrainPlan

_OF_A_RUN = ("batch", "schedule", "seed", "epochs", "max_steps", "checkpoint", "health")
"""Sections of a run that change nothing about what one pass of one sample costs."""

PLAN_FILE = "plan.json"
"""Beside the journal, for processes that workers start."""


class ProbePlan(Record):
    """One probe, ready to launch."""

    sweep_id: str
    """Whose it is."""

    probe_dir: str
    """Where the journal is; exists, and every worker reaches it."""

    settings: tuple[Setting, ...]
    """Those that may run here."""

    plans: tuple[TrainPlan, ...]
    """The run of each, in the same order."""

    reference: int
    """Index of the setting that others are compared with; one of `settings`."""

    spec: ProbeSpec
    """How to measure."""

    num_workers: int
    """Of the group: the largest of all settings."""

    cpus_per_worker: int
    accelerator: str
    """Ray's name of each worker's device."""

    memory_limit_gib: float | None
    """What a worker may use, headroom taken off; None: not known."""

    limit_s: float | None
    """Accelerator-seconds that all groups of the probe may use; None: no limit."""

    keeps_slow: bool
    """Whether a slower precision could win all the same, as by learning in fewer steps."""

    seed: int
    """Of the order of windows."""

    @cached_property
    def _places(self) -> dict[int, int]:
        return {setting.index: place for place, setting in enumerate(self.settings)}

    @cached_property
    def _states(self) -> dict[int, str]:
        return {index: _state(self.plan(index)) for index in self._places}

    def setting(self, index: int) -> Setting:
        """A setting by its number."""
        return self.settings[self._places[index]]

    def plan(self, index: int) -> TrainPlan:
        """The run of a setting."""
        return self.plans[self._places[index]]

    def state_of(self, index: int) -> str:
        """Names the settings of one network, arithmetic and optimizer: equal but for how batches
        are cut, the number of workers, and what differs only between steps."""
        return self._states[index]

    def is_sharded(self, index: int) -> bool:
        """Whether a worker of a setting holds only a part of the network."""
        fsdp = self.plan(index).spec.parallelism.strategy is Strategy.FSDP
        return fsdp and self.setting(index).num_workers > 1

    @cached_property
    def states(self) -> dict[str, tuple[Setting, ...]]:
        """State -> its settings, smallest micro-batch first; the reference's state comes first."""
        found: dict[str, list[Setting]] = {self.state_of(self.reference): []}
        for setting in sorted(
            self.settings, key=lambda s: (s.micro_batch_size, s.num_workers, s.index)
        ):
            found.setdefault(self.state_of(setting.index), []).append(setting)
        return {state: tuple(settings) for state, settings in found.items()}


def _state(plan: TrainPlan) -> str:
    document = plan.spec.to_document()
    for section in _OF_A_RUN:
        document.pop(section)
    document["resources"].pop("num_workers")
    document["optimizer"].pop("learning_rate")
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]
