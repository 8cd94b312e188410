"""Training runs of a sweep: their plans, and what each has left on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from raymi.data.version import Split
from raymi.specs.sweep import SweepSpec
from raymi.specs.train import TrainSpec
from raymi.sweep.evidence import (
    CurvePoint,
    NoiseScale,
    Purpose,
    RowScores,
    RunEvidence,
    RunStatus,
)
from raymi.sweep.setting import Setting, run_of
from raymi.train.cost import accelerator_seconds, run_energy_j
from raymi.train.events import EVENTS_FILE, Event, read_events
from raymi.train.plan import TrainPlan
from raymi.train.planning import make_plan
from raymi.train.result import TrainResult
from raymi.train.row_scores import load_row_scores
from raymi.train.run_files import RESULT_FILE

FRESH_SEEDS_FROM = 1000
"""Seeds of confirmation are the reference's plus this and more: no other run has them."""

_SPLIT = {Purpose.QUALITY: Split.VALIDATION, Purpose.CONFIRMATION: Split.TEST}


@dataclass(frozen=True, slots=True)
class SweepRun:
    """One training run that a sweep wants."""

    setting: Setting
    purpose: Purpose
    number: int
    """Of its pair, from 0: the n-th run of every setting has the same seed."""

    plan: TrainPlan

    @property
    def run_id(self) -> str:
        """Unique; names the run's directory."""
        return self.plan.run_id

    @property
    def run_dir(self) -> Path:
        """Where it writes."""
        return Path(self.plan.run_dir)

    @property
    def seed(self) -> int:
        """Of weights and row order."""
        return self.plan.spec.seed

    def __str__(self) -> str:
        fresh = "fresh " if self.purpose is Purpose.CONFIRMATION else ""
        return f"{self.setting.label}, {fresh}seed {self.seed}"


class RunPlanner:
    """Plans runs of settings; what they share is worked out once."""

    def __init__(
        self, spec: SweepSpec, *, sweep_id: str, accelerator: str, store_dir: Path
    ) -> None:
        self._spec = spec
        self._sweep_id = sweep_id
        self._accelerator = accelerator
        self._store_dir = store_dir
        self._made: dict[str, TrainPlan] = {}

    def plan(self, setting: Setting) -> TrainPlan:
        """The plan of a setting's run with the reference's seed.

        Raises:
            SpecError, DataError, NotFoundError: It cannot be trained as asked.
        """
        return self._plan(run_of(self._spec, setting), f"{self._sweep_id}-s{setting.index:02d}")

    def run(self, setting: Setting, *, number: int, purpose: Purpose) -> SweepRun:
        """The n-th run of a setting for some purpose."""
        first = FRESH_SEEDS_FROM if purpose is Purpose.CONFIRMATION else 0
        seed = self._spec.train.seed + first + number
        plan = self._plan(
            run_of(self._spec, setting, seed=seed),
            f"{self._sweep_id}-s{setting.index:02d}-{purpose.value[0]}{number}",
        )
        return SweepRun(
            setting=setting,
            purpose=purpose,
            number=number,
            plan=plan.model_copy(update={"row_scores": (_SPLIT[purpose],), "measures_noise": True}),
        )

    def _plan(self, spec: TrainSpec, run_id: str) -> TrainPlan:
        """The same data, problem and network give the same plan, but for the spec itself."""
        document = spec.to_document()
        key = json.dumps([document[part] for part in ("data", "problem", "model", "rows")])
        if key not in self._made:
            self._made[key] = make_plan(
                spec, run_id=run_id, accelerator=self._accelerator, store_dir=self._store_dir
            )
        return self._made[key].model_copy(
            update={
                "run_id": run_id,
                "run_dir": str(self._store_dir / "runs" / run_id),
                "spec": spec,
                "micro_batch_size": spec.batch.micro_batch_size,
            }
        )


def read_run_evidence(
    run: SweepRun, *, status: RunStatus, reason: str | None = None
) -> RunEvidence:
    """What a run has left, whichever way it ended; without scores of rows."""
    events = read_events(run.run_dir / EVENTS_FILE)
    result = _result(run) if status is RunStatus.SUCCEEDED else None
    metric = result.primary_metric if result else None
    curve = _curve(events, metric) if metric else ()
    return RunEvidence(
        run_id=run.run_id,
        setting=run.setting.index,
        numerics=run.setting.numerics,
        seed=run.seed,
        purpose=run.purpose,
        status=status,
        reason=reason,
        metric=result.metrics[result.primary_metric] if result else None,
        curve=curve,
        num_samples=curve[-1].num_samples if curve else 0,
        samples_per_s=result.samples_per_s if result else None,
        accelerator_s=accelerator_seconds(events),
        energy_j=run_energy_j(run.run_dir) if result else None,
        noise_scale=_noise_scale(events),
    )


def with_row_scores(evidence: RunEvidence, run: SweepRun) -> RunEvidence:
    """The same with what the run got right and wrong, row by row.

    Raises:
        IntegrityError: The file is gone or damaged.
    """
    if evidence.status is not RunStatus.SUCCEEDED:
        return evidence
    split = _SPLIT[run.purpose]
    arrays = load_row_scores(run.run_dir, split)
    scores = RowScores(
        **{
            name: tuple(round(value, 6) for value in array.tolist())
            for name, array in arrays.items()
        }
    )
    part = "test" if split is Split.TEST else "validation"
    return evidence.model_copy(update={part: scores})


def _result(run: SweepRun) -> TrainResult:
    return TrainResult.load(run.run_dir / RESULT_FILE)


def _curve(events: list[Event], metric: str) -> tuple[CurvePoint, ...]:
    """The last word on each position: an epoch that was trained twice is there twice."""
    points = {
        event["num_samples"]: event[metric]
        for event in events
        if event["event"] == "epoch" and metric in event
    }
    return tuple(CurvePoint(num_samples=n, value=value) for n, value in sorted(points.items()))


def _noise_scale(events: list[Event]) -> NoiseScale | None:
    found = [event for event in events if event["event"] == "noise_scale"]
    if not found:
        return None
    names = ("gradient_square", "noise_trace", "num_estimates")
    return NoiseScale(**{name: found[-1][name] for name in names})
