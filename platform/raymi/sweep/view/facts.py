"""What tables and pages say about a sweep, looked up once: names, swept values, numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import JsonValue

from raymi.specs.precision import SAFEST_FIRST, Precision
from raymi.specs.sweep import GLOBAL_BATCH, LEARNING_RATE, MICRO_BATCH, Objective, SweepSpec
from raymi.sweep.decision.words import quality_text
from raymi.sweep.evidence import Evidence
from raymi.sweep.setting import Setting
from raymi.sweep.verdicts import Costs, Decision, QualityTest, Standing, Timing, Verdict
from raymi.sweep.view.columns import ABSENT

_HEADERS = {
    MICRO_BATCH: "micro-batch",
    GLOBAL_BATCH: "global batch",
    "resources.num_workers": "workers",
    "parallelism.activation_checkpointing": "recompute",
}
_RESOLVED = {
    "precision": "precision",
    MICRO_BATCH: "micro_batch_size",
    GLOBAL_BATCH: "global_batch_size",
    LEARNING_RATE: "learning_rate",
    "resources.num_workers": "num_workers",
}
"""Paths whose value every setting has, the reference outside of the space included."""

OUT = (Standing.REJECTED, Standing.FAILED, Standing.INFEASIBLE, Standing.UNKNOWN)
"""Where settings stand that could not win."""

FINDINGS = {"ece": "calibration error", "brier": "Brier score"}
"""In words."""

OBJECTIVES = {
    Objective.SAMPLES_PER_S: "samples/s",
    Objective.COST_TO_TARGET: "accelerator-s to the target",
    Objective.ENERGY: "energy of a run",
    Objective.MONEY: "money of a run",
    Objective.QUALITY: "quality",
    Objective.PEAK_MEMORY_GIB: "peak memory",
}


@dataclass(frozen=True, slots=True)
class Swept:
    """One dimension of the space."""

    path: str
    """Into the run."""

    header: str
    values: tuple[str, ...]
    """Of every setting, in order."""


@dataclass(frozen=True)
class Facts:
    """One sweep's evidence and decision."""

    evidence: Evidence
    decision: Decision

    @cached_property
    def spec(self) -> SweepSpec:
        """What was asked."""
        return SweepSpec.from_document(self.evidence.spec)

    @cached_property
    def timings(self) -> Mapping[int, Timing]:
        """By setting; those that were timed."""
        return {one.setting: one for one in self.decision.timings}

    @cached_property
    def costs(self) -> Mapping[int, Costs]:
        """By setting."""
        return {one.setting: one for one in self.decision.costs}

    @cached_property
    def verdicts(self) -> Mapping[int, Verdict]:
        """By setting."""
        return {one.setting: one for one in self.decision.verdicts}

    @cached_property
    def tests(self) -> Mapping[str, QualityTest]:
        """By numerics."""
        return {one.numerics: one for one in self.decision.tests}

    @cached_property
    def swept(self) -> tuple[Swept, ...]:
        """The dimensions of the space, in its order."""
        return list_swept(self.evidence)

    @cached_property
    def precisions(self) -> tuple[Precision, ...]:
        """Those of the settings, the safest first."""
        used = {setting.precision for setting in self.evidence.settings}
        return tuple(precision for precision in SAFEST_FIRST if precision in used)

    def is_out(self, index: int) -> bool:
        """Whether a setting could not win, however good it looks."""
        verdict = self.verdicts.get(index)
        return verdict is not None and verdict.standing in OUT

    @property
    def wants_target(self) -> bool:
        """Whether anybody asked what it costs to get to a target."""
        is_objective = self.spec.objective is Objective.COST_TO_TARGET
        return is_objective or self.spec.quality.target is not None

    @property
    def reference(self) -> Setting:
        """What others may not be worse than."""
        return self.evidence.settings[self.evidence.reference]

    @property
    def winner(self) -> Setting | None:
        """None: nobody won."""
        index = self.decision.winner
        return None if index is None else self.evidence.settings[index]

    def name(self, index: int) -> str:
        """Only the values of a setting, for charts: `bf16 · 32`."""
        values = (dimension.values[index] for dimension in self.swept)
        return " · ".join(values) or self.evidence.settings[index].label

    def costs_of(self, index: int) -> Costs:
        """What was measured of a setting; nothing, if nothing was."""
        return self.costs.get(index) or Costs(setting=index)

    def is_on_front(self, index: int) -> bool:
        """Whether nothing beats it in every respect."""
        verdict = self.verdicts.get(index)
        return verdict is not None and verdict.on_front

    def metric_text(self, value: float | None) -> str:
        """The metric with as many digits as mean something."""
        return ABSENT if value is None else quality_text(value)


def list_swept(evidence: Evidence) -> tuple[Swept, ...]:
    """The dimensions of the space, and the learning rate where it follows the batch by a rule."""
    paths = list(evidence.spec["space"])
    rates = {setting.learning_rate for setting in evidence.settings}
    if LEARNING_RATE not in paths and len(rates) > 1:
        paths.append(LEARNING_RATE)
    last = [path.rpartition(".")[2] for path in paths]
    return tuple(
        Swept(
            path=path,
            # `a.size` and `b.size` are told apart by their whole paths.
            header=_HEADERS.get(path, name.replace("_", " ") if last.count(name) == 1 else path),
            values=tuple(_text(_value(evidence, setting, path)) for setting in evidence.settings),
        )
        for path, name in zip(paths, last, strict=True)
    )


def _value(evidence: Evidence, setting: Setting, path: str) -> Any:
    if path in _RESOLVED:
        return getattr(setting, _RESOLVED[path])
    if path in setting.point:
        return setting.point[path]
    value: Any = evidence.spec["train"]
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(value: JsonValue) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
