"""ProbePlan: everything the workers of a probe need, decided before any of them starts."""

from __future__ import annotations

import hashlib
import json

from raymi.specs.probe import ProbeSpec
from raymi.store.record import Record
from raymi.sweep.setting import Setting
from raymi.train.plan import TrainPlan


class ProbePlan(Record):
    """One probe, ready to launch. Sent to workers as JSON."""

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
    """Of the order of windows and of random input."""

    def setting(self, index: int) -> Setting:
        """A setting by its number."""
        return next(one for one in self.settings if one.index == index)

    def plan(self, index: int) -> TrainPlan:
        """The run of a setting."""
        return next(
            plan for one, plan in zip(self.settings, self.plans, strict=True) if one.index == index
        )

    def state_of(self, index: int) -> str:
        """Names the settings that can share a network and an optimizer: equal but for batches."""
        document = self.plan(index).spec.to_document()
        document["batch"].pop("micro_batch_size")
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]

    def states(self) -> dict[str, list[Setting]]:
        """State -> its settings, smallest micro-batch first; the reference's state comes first."""
        found: dict[str, list[Setting]] = {self.state_of(self.reference): []}
        for setting in self.settings:
            found.setdefault(self.state_of(setting.index), []).append(setting)
        return {
            state: sorted(settings, key=lambda s: s.micro_batch_size)
            for state, settings in found.items()
        }
