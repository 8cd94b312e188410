"""Stage 3: turn a SweepSpec into a SweepResult; every trial is a data-parallel Train run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from raymi.accelerators.catalog import find
from raymi.data import stage as data_stage
from raymi.errors import CapabilityError, RaymiError
from raymi.specs.data import DataSpec
from raymi.specs.loading import resolved_yaml
from raymi.specs.sweep import SchedulerName, SweepSpec
from raymi.sweep.concurrency import max_concurrent_trials
from raymi.sweep.countdown import Countdown
from raymi.sweep.decision import decide
from raymi.sweep.result import SWEEP_FILE, SweepResult
from raymi.sweep.trial import Status, Trial
from raymi.sweep.tuner import TrialPlan, run_trials
from raymi.train import cluster
from raymi.train.admission import admit
from raymi.train.events import EVENTS_FILE
from raymi.train.failure import Reason
from raymi.train.follow import follow, format_seconds
from raymi.train.planning import make_plan, new_run_id, open_run
from raymi.train.provenance import collect_provenance
from raymi.train.run_files import SPEC_FILE
from raymi.train.teaching import Teach, taught


def run(
    spec: SweepSpec,
    *,
    store_dir: Path,
    say: Callable[[str], None],
    teach: Teach | None = None,
) -> SweepResult:
    """Run every trial and decide.

    Args:
        spec: What to search.
        store_dir: Where datasets, runs and sweeps are kept; every worker must reach it.
        say: Receives progress, a line at a time.
        teach: Asks the teachers of trials; needed if any has one.

    Raises:
        SpecError: No trial can start here; nothing was started.
    """
    began_at = time.monotonic()
    cluster.join()
    sweep_id = new_run_id(spec.train.name)
    plans, impossible = _plan(_pin_data(spec, store_dir), sweep_id=sweep_id, store_dir=store_dir)
    if not plans:
        raise impossible[0][1]
    sweep_dir = store_dir / "sweeps" / sweep_id
    sweep_dir.mkdir(parents=True)
    (sweep_dir / SPEC_FILE).write_text(resolved_yaml(spec), encoding="utf-8")
    for trial, error in impossible:
        say(f"trial {trial.index + 1} ({trial.label}) is not started: {error.why}")
    trials = [
        *_run(spec, plans, sweep_dir=sweep_dir, say=say, teach=teach),
        *(trial for trial, _ in impossible),
    ]
    trials.sort(key=lambda trial: trial.index)
    result = SweepResult(
        sweep_id=sweep_id,
        sweep_dir=str(sweep_dir),
        spec=spec.to_document(),
        trials=tuple(trials),
        decision=decide(
            trials,
            objective=spec.objective,
            constraints=spec.constraints,
            tie_within=spec.tie_within,
        ),
        duration_s=time.monotonic() - began_at,
    )
    result.save(sweep_dir / SWEEP_FILE)
    say(f"sweep {sweep_id} finished in {format_seconds(result.duration_s)}")
    return result


def _run(
    spec: SweepSpec,
    plans: Sequence[TrialPlan],
    *,
    sweep_dir: Path,
    say: Callable[[str], None],
    teach: Teach | None,
) -> list[Trial]:
    """Run the trials that can run, and print what happens in them."""
    nodes = cluster.nodes()
    accelerator = find(plans[0].plan.accelerator)
    num_concurrent = max_concurrent_trials(
        [p.plan.spec for p in plans], accelerator, nodes, limit=spec.max_concurrent_trials
    )
    say(f"sweep {sweep_dir.name}: {len(plans)} trials, {num_concurrent} at a time")
    for plan in plans:
        open_run(plan.plan)
    with_teachers = taught([plan.plan for plan in plans], teach)
    plans = [replace(one, plan=plan) for one, plan in zip(plans, with_teachers, strict=True)]
    logs = {
        f"[trial {p.trial.index + 1}: {p.trial.label}] ": Path(p.plan.run_dir) / EVENTS_FILE
        for p in plans
    }
    with follow(logs, say, overall=Countdown(len(plans))):
        return run_trials(
            plans,
            spec=spec,
            sweep_dir=sweep_dir,
            num_concurrent=num_concurrent,
            provenance=collect_provenance(accelerator, code_package=cluster.code_package()),
        )


def _pin_data(spec: SweepSpec, store_dir: Path) -> SweepSpec:
    """Import the data once and have every trial name that very version."""
    if any(path.startswith("data") for path in spec.space):
        return spec
    version = data_stage.run(spec.train.data, store_dir=store_dir)
    pinned = DataSpec(name=version.name, version=version.fingerprint)
    return spec.model_copy(update={"train": spec.train.model_copy(update={"data": pinned})})


def _plan(
    spec: SweepSpec, *, sweep_id: str, store_dir: Path
) -> tuple[list[TrialPlan], list[tuple[Trial, RaymiError]]]:
    """Plan every trial that can run here; the others become rows with a reason."""
    nodes = cluster.nodes()
    plans: list[TrialPlan] = []
    impossible: list[tuple[Trial, RaymiError]] = []
    for index, point in enumerate(spec.combinations()):
        trial_spec = spec.trial(point)
        trial = Trial(
            index=index,
            point=point,
            run_id=f"{sweep_id}-{index:02d}",
            precision=trial_spec.precision,
            micro_batch_size=trial_spec.batch.micro_batch_size,
            status=Status.PENDING,
        )
        try:
            accelerator = admit(trial_spec, nodes)
        except RaymiError as error:
            impossible.append((_refused(trial, error), error))
            continue
        plan = make_plan(
            trial_spec, run_id=trial.run_id, accelerator=accelerator.name, store_dir=store_dir
        )
        if spec.scheduler.name is not SchedulerName.FIFO:
            plan = plan.model_copy(update={"report_interval_s": 0.0})
        plans.append(TrialPlan(trial, plan))
    return plans, impossible


def _refused(trial: Trial, error: RaymiError) -> Trial:
    is_precision = isinstance(error, CapabilityError) and error.what.startswith("precision")
    reason = Reason.UNSUPPORTED_PRECISION if is_precision else Reason.NEVER_FITS
    return trial.model_copy(
        update={"status": Status.FAILED, "reason": reason.value, "detail": error.why}
    )
