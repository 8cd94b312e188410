"""The evidence of one sweep, looked at from the sides that the decision needs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property

from raymi.specs.sweep import SweepSpec
from raymi.specs.train import TrainSpec
from raymi.sweep.evidence import Evidence, Latency, Purpose, RunEvidence, RunStatus
from raymi.sweep.setting import Setting, run_of


@dataclass(frozen=True)
class Case:
    """What was asked and what was measured."""

    evidence: Evidence

    @cached_property
    def spec(self) -> SweepSpec:
        """What was asked."""
        return SweepSpec.from_document(self.evidence.spec)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """In the order of their indices."""
        return self.evidence.settings

    @property
    def reference(self) -> Setting:
        """What others may not be worse than."""
        return self.settings[self.evidence.reference]

    @cached_property
    def numerics(self) -> tuple[str, ...]:
        """Every way to compute, in the order in which settings name them."""
        return tuple(dict.fromkeys(setting.numerics for setting in self.settings))

    @property
    def margin(self) -> float:
        """How much worse than the reference is too much."""
        return self.spec.constraints.max_quality_loss

    @cached_property
    def dead(self) -> dict[int, str]:
        """Setting -> why it cannot run here, or was given up before it was timed."""
        probe = self.evidence.probe
        return self.evidence.refused | probe.failures | probe.given_up

    def settings_of(self, numerics: str) -> list[Setting]:
        """Every cut of one way to compute."""
        return [setting for setting in self.settings if setting.numerics == numerics]

    @cached_property
    def _train_specs(self) -> dict[int, TrainSpec]:
        return {setting.index: run_of(self.spec, setting) for setting in self.settings}

    def train_spec(self, setting: Setting) -> TrainSpec:
        """The complete run of a setting."""
        return self._train_specs[setting.index]

    def memory_group(self, setting: Setting) -> str:
        """Names the settings whose memory differs by their micro-batch alone."""
        return self._memory_groups[setting.index]

    @cached_property
    def _memory_groups(self) -> tuple[str, ...]:
        documents = [self.train_spec(setting).to_document() for setting in self.settings]
        for document in documents:
            for part in ("batch", "schedule", "seed", "epochs", "max_steps"):
                document.pop(part)
            document["optimizer"].pop("learning_rate")
        return tuple(json.dumps(document, sort_keys=True) for document in documents)

    def latencies_of(self, setting: Setting) -> list[Latency]:
        """Forward passes of the same network in the same precision: how a training batch is cut,
        or how fast is learned, does not matter to them."""
        model = self.train_spec(setting).model
        return [
            latency
            for latency in self.evidence.probe.latencies
            if (other := self.settings[latency.setting]).precision is setting.precision
            and self.train_spec(other).model == model
        ]

    def num_rows(self, purpose: Purpose) -> int:
        """Evaluation rows for a purpose."""
        split = "test" if purpose is Purpose.CONFIRMATION else "validation"
        return int(self.evidence.dataset.get("num_rows", {}).get(split, 0))

    def is_better(self, quality: float, other: float) -> bool:
        """Whether one value of the metric is better than another."""
        return quality > other if self.evidence.higher_is_better else quality < other

    def runs(self, numerics: str, purpose: Purpose) -> list[RunEvidence]:
        """Runs by seed, one each: of another cut with the same seed, the first counts."""
        found: dict[int, RunEvidence] = {}
        for run in self.evidence.runs:
            if run.numerics == numerics and run.purpose is purpose:
                found.setdefault(run.seed, run)
        return [found[seed] for seed in sorted(found)]

    def finished(self, numerics: str, purpose: Purpose) -> dict[int, RunEvidence]:
        """Seed -> run that trained to the end and can be judged."""
        return {
            run.seed: run
            for run in self.runs(numerics, purpose)
            if run.run_id in self._finished_runs
        }

    def failed(self, numerics: str, purpose: Purpose) -> list[tuple[int, str]]:
        """Seed and reason of every run that broke down; one that was stopped did not."""
        return [
            (run.seed, run.reason or "diverged")
            for run in self.runs(numerics, purpose)
            if run.status is not RunStatus.STOPPED and run.run_id not in self._finished_runs
        ]

    @cached_property
    def _finished_runs(self) -> frozenset[str]:
        return frozenset(run.run_id for run in self.evidence.runs if _has_finished(run))

    def quality(self, numerics: str) -> float | None:
        """Mean of the metric over finished runs on validation rows."""
        values = [
            run.metric
            for run in self.finished(numerics, Purpose.QUALITY).values()
            if run.metric is not None
        ]
        return math.fsum(values) / len(values) if values else None


def _has_finished(run: RunEvidence) -> bool:
    """Whether a run ended well, with numbers that are numbers."""
    if run.status is not RunStatus.SUCCEEDED or run.metric is None:
        return False
    scores = [one.score for one in (run.validation, run.test) if one is not None]
    # A sum is finite only if all its parts are.
    return math.isfinite(run.metric) and all(math.isfinite(sum(score)) for score in scores)
