"""Ray Tune's part of a sweep: start trials, stop hopeless ones, bring every outcome back."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from raymi.errors import TrainingError
from raymi.specs.sweep import SchedulerName, SweepSpec
from raymi.sweep.concurrency import TRIAL_RESOURCES
from raymi.sweep.decision import HIGHER_IS_BETTER
from raymi.sweep.trial import TRIAL_FILE, Status, Trial
from raymi.train.completion import finish
from raymi.train.events import EVENTS_FILE, EventLog, read_events
from raymi.train.failure import CONSEQUENCES, Policy, Reason
from raymi.train.launch import launch
from raymi.train.objective import primary_metric
from raymi.train.plan import TrainPlan
from raymi.train.result import Provenance


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """A trial that can run, and its run."""

    trial: Trial
    plan: TrainPlan


def run_trials(
    plans: Sequence[TrialPlan],
    *,
    spec: SweepSpec,
    sweep_dir: Path,
    num_concurrent: int,
    provenance: Provenance,
) -> list[Trial]:
    """Run every plan; a trial that fails is a row, and the others go on."""
    # Progress is printed from the runs' own events, and results are our own files.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    logging.getLogger("ray.tune.analysis").setLevel(logging.ERROR)
    metric = primary_metric(plans[0].plan.preprocessing.target)
    documents = [
        {"trial": p.trial.model_dump_json(), "plan": p.plan.model_dump_json()} for p in plans
    ]
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(
                _run_trial, documents=documents, provenance=provenance.model_dump_json()
            ),
            TRIAL_RESOURCES,
        ),
        param_space={"position": tune.grid_search(list(range(len(plans))))},
        tune_config=tune.TuneConfig(
            metric=metric,
            mode="max" if HIGHER_IS_BETTER[metric] else "min",
            max_concurrent_trials=num_concurrent,
            scheduler=_scheduler(spec),
            reuse_actors=False,
        ),
        run_config=tune.RunConfig(
            name="tune", storage_path=str(sweep_dir), verbose=0, callbacks=[_Silence()]
        ),
    )
    tuner.fit()
    return [_outcome(p) for p in plans]


class _Silence(TrialProgressCallback):  # type: ignore[misc]  # Ray is untyped
    """Says nothing when a trial ends; Tune's own prints a line even when told to be quiet."""

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Our events say it better."""


def _scheduler(spec: SweepSpec) -> TrialScheduler:
    if spec.scheduler.name is SchedulerName.FIFO:
        return FIFOScheduler()
    return _Halving(
        time_attr="epoch",
        max_t=spec.train.epochs,
        grace_period=min(spec.scheduler.grace_epochs, spec.train.epochs),
        reduction_factor=spec.scheduler.reduction_factor,
        stop_last_trials=False,
    )


class _Halving(ASHAScheduler):  # type: ignore[misc]  # Ray is untyped
    """ASHA that never stops a trial in its last epoch, while it writes down its result."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Judge a report; see `TrialScheduler`."""
        action: str = super().on_trial_result(tune_controller, trial, result)
        is_last = result.get(self._time_attr, 0) >= self._max_t
        return TrialScheduler.CONTINUE if is_last else action


def _run_trial(config: dict[str, Any], *, documents: list[dict[str, str]], provenance: str) -> None:
    """One trial, in its own process on the cluster."""
    document = documents[config["position"]]
    trial = Trial.model_validate_json(document["trial"])
    plan = TrainPlan.model_validate_json(document["plan"])
    try:
        outcome, attempts = launch(plan, callbacks=[TuneReportCallback()])
        result = finish(
            plan,
            outcome,
            attempts=attempts,
            provenance=Provenance.model_validate_json(provenance),
        )
        ended = trial.model_copy(update={"status": Status.SUCCEEDED, "result": result})
    except TrainingError as error:
        if error.reason == Reason.STOPPED_EARLY:
            return  # Seldom gets this far before it is killed; `_outcome` covers both.
        ended = _failed(trial, Reason(error.reason), error.why)
    except Exception as error:  # noqa: BLE001 - a trial's accident must not end the sweep
        EventLog(Path(plan.run_dir) / EVENTS_FILE).append(
            "failure",
            reason=Reason.ERROR.value,
            policy=Policy.STOP.value,
            traceback=traceback.format_exc(),
        )
        ended = _failed(trial, Reason.ERROR, f"{type(error).__name__}: {error}")
    ended.save(Path(plan.run_dir) / TRIAL_FILE)


def _failed(trial: Trial, reason: Reason, detail: str) -> Trial:
    return trial.model_copy(
        update={"status": Status.FAILED, "reason": reason.value, "detail": detail}
    )


def _outcome(plan: TrialPlan) -> Trial:
    """What a trial left behind; nothing means that Tune stopped it, or lost it."""
    run_dir = Path(plan.plan.run_dir)
    if (run_dir / TRIAL_FILE).is_file():
        return Trial.load(run_dir / TRIAL_FILE)
    epochs = [event for event in read_events(run_dir / EVENTS_FILE) if event["event"] == "epoch"]
    reason = Reason.STOPPED_EARLY if epochs else Reason.WORKER_DIED
    detail = f"{CONSEQUENCES[reason].sentence}, after {len(epochs)} epochs"
    status = Status.STOPPED if epochs else Status.FAILED
    return plan.trial.model_copy(
        update={"status": status, "reason": reason.value, "detail": detail}
    )
