"""Ray Tune's part of a sweep: start runs, stop hopeless ones, bring every outcome back."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from raymi.errors import TrainingError
from raymi.specs.quality import QualitySpec, SchedulerName
from raymi.sweep.concurrency import TRIAL_RESOURCES
from raymi.sweep.evidence import RunEvidence, RunStatus
from raymi.sweep.kill_file import die_once_there_is
from raymi.sweep.places import free_places, list_places
from raymi.sweep.runs import SweepRun, read_run_evidence
from raymi.train.completion import finish
from raymi.train.events import EVENTS_FILE, EventLog, read_events
from raymi.train.failure import Policy, Reason
from raymi.train.launch import launch
from raymi.train.plan import TrainPlan
from raymi.train.result import Provenance
from raymi.train.run_files import RESULT_FILE

OUT_OF_BUDGET = "out_of_budget"
"""Reason of a run that was stopped because the sweep may not spend more."""


class Watcher(Protocol):
    """Whoever wants to know how runs are doing, in the driver."""

    def should_stop(self) -> bool:
        """Whether all runs are to end now."""

    def started(self, run: SweepRun) -> None:
        """A run has been given its place."""

    def ended(self, run: SweepRun, outcome: RunEvidence) -> None:
        """A run is over, whichever way."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """How some runs are to be run."""

    directory: Path
    """For Tune's own files."""

    trials_dir: Path
    """Where outcomes are kept: a run that has one is not started."""

    num_concurrent: int
    metric: str
    higher_is_better: bool
    quality: QualitySpec
    rung_top_s: float | None = None
    """ASHA: accelerator-seconds of the most expensive run; None: nobody is stopped early."""

    reference: int = 0
    """The setting that is never stopped early."""

    scheduler: TrialScheduler | None = None
    """Instead of what `quality` asks for."""

    @property
    def kill_file(self) -> Path:
        """Ends all trials once it is there."""
        return self.directory.parent / f"{self.directory.name}.kill"

    @property
    def halves(self) -> bool:
        """Whether hopeless runs are stopped."""
        asked = self.quality.scheduler is SchedulerName.ASHA and self.rung_top_s is not None
        return asked or self.scheduler is not None


def run_all(
    runs: Sequence[SweepRun], tuning: Tuning, *, provenance: Provenance, watcher: Watcher
) -> list[RunEvidence]:
    """Run those that have no outcome yet; a run that fails is a row, and the others go on."""
    missing = [run for run in runs if read_outcome(run, tuning.trials_dir) is None]
    if missing:
        _tune(missing, tuning, provenance=provenance, watcher=watcher)
    # Tune may have lost one without telling: what it left says how it ended.
    return [_outcome(run, tuning.trials_dir, watcher) for run in runs]


def read_outcome(run: SweepRun, trials_dir: Path) -> RunEvidence | None:
    """What became of a run; None if it has not ended."""
    path = trials_dir / f"{run.run_id}.json"
    return RunEvidence.load(path) if path.is_file() else None


def _tune(
    runs: Sequence[SweepRun], tuning: Tuning, *, provenance: Provenance, watcher: Watcher
) -> None:
    # Progress is printed from the runs' own events, and results are our own files.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    logging.getLogger("ray.tune.analysis").setLevel(logging.ERROR)
    interval_s = 0.0 if tuning.halves else 1.0
    plans = [run.plan.model_copy(update={"report_interval_s": interval_s}) for run in runs]
    trainable = tune.with_parameters(
        _run_trial,
        plans=[plan.model_dump_json() for plan in plans],
        provenance=provenance.model_dump_json(),
        kill_file=str(tuning.kill_file),
    )
    places_before = list_places()
    tune.Tuner(
        tune.with_resources(trainable, TRIAL_RESOURCES),
        param_space={"position": tune.grid_search(list(range(len(runs))))},
        tune_config=tune.TuneConfig(
            metric=tuning.metric,
            mode="max" if tuning.higher_is_better else "min",
            max_concurrent_trials=tuning.num_concurrent,
            scheduler=_scheduler(runs, tuning),
            reuse_actors=False,
        ),
        run_config=tune.RunConfig(
            name=tuning.directory.name,
            storage_path=str(tuning.directory.parent),
            verbose=0,
            stop=_Limit(watcher, tuning.kill_file),
            callbacks=[_Bookkeeping(runs, tuning.trials_dir, watcher)],
        ),
    ).fit()
    if tuning.kill_file.exists():
        free_places(list_places() - places_before)


class _Limit(tune.Stopper):  # type: ignore[misc]  # Ray is untyped
    """Ends all runs at once when the sweep may not go on."""

    def __init__(self, watcher: Watcher | None = None, kill_file: Path | None = None) -> None:
        self._watcher = watcher
        self._kill_file = kill_file

    def __call__(self, *_: Any) -> bool:
        """Whether one run is to end; see `Stopper`."""
        return False

    def stop_all(self) -> bool:
        """Whether all are; Tune asks all the time. Tune itself would give them ten seconds."""
        if self._watcher is None or not self._watcher.should_stop():
            return False
        if self._kill_file is not None:
            self._kill_file.touch()
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        """Tune saves what it was given; nobody of ours reads that."""
        return _Limit, ()


class _Bookkeeping(TrialProgressCallback):  # type: ignore[misc]  # Ray is untyped
    """Writes down how a run ended as soon as it has; prints nothing, unlike Tune's own."""

    def __init__(
        self,
        runs: Sequence[SweepRun] = (),
        trials_dir: Path | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        super().__init__()
        self._runs = runs
        self._trials_dir = trials_dir
        self._watcher = watcher

    def on_trial_start(self, *, trial: Any, **_: Any) -> None:
        """A run has been given its place."""
        if self._watcher is not None:
            self._watcher.started(self._run(trial))

    def on_trial_complete(self, *, trial: Any, **_: Any) -> None:
        """A run has returned, or the scheduler has stopped it."""
        if self._watcher is not None and self._trials_dir is not None:
            run = self._run(trial)
            self._watcher.ended(run, _outcome(run, self._trials_dir, self._watcher))

    def on_trial_error(self, *, trial: Any, **_: Any) -> None:
        """A run's own process has died."""
        self.on_trial_complete(trial=trial)

    def _run(self, trial: Any) -> SweepRun:
        position: int = trial.config["position"]
        return self._runs[position]

    def __reduce__(self) -> tuple[Any, ...]:
        """See `_Limit`."""
        return _Bookkeeping, ()


def _scheduler(runs: Sequence[SweepRun], tuning: Tuning) -> TrialScheduler:
    top_s = tuning.rung_top_s
    if tuning.scheduler is not None:
        return tuning.scheduler
    if not tuning.halves or top_s is None:
        return FIFOScheduler()
    factor = tuning.quality.reduction_factor
    return _Halving(
        protected=[run.setting.index == tuning.reference for run in runs],
        time_attr="accelerator_s",
        max_t=_LAST_RUNG * top_s,
        grace_period=top_s / factor**2,
        reduction_factor=factor,
        stop_last_trials=False,
    )


_LAST_RUNG = 0.9
"""Share of the most expensive run after which nobody is stopped any more."""


class _Halving(ASHAScheduler):  # type: ignore[misc]  # Ray is untyped
    """ASHA with rungs of cost, that stops neither the reference nor a run in its last part."""

    def __init__(self, *, protected: Sequence[bool], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._protected = protected

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Judge a report; see `TrialScheduler`."""
        action: str = super().on_trial_result(tune_controller, trial, result)
        is_late = result.get(self._time_attr, 0.0) >= self._max_t
        if is_late or self._protected[trial.config["position"]]:
            action = TrialScheduler.CONTINUE
        return action


def _run_trial(
    config: dict[str, Any], *, plans: list[str], provenance: str, kill_file: str
) -> None:
    """One run, in its own process on the cluster; its outcome is what it leaves on disk."""
    die_once_there_is(Path(kill_file))
    plan = TrainPlan.model_validate_json(plans[config["position"]])
    try:
        outcome, attempts = launch(plan, callbacks=[TuneReportCallback()])
        finish(
            plan,
            outcome,
            attempts=attempts,
            provenance=Provenance.model_validate_json(provenance),
        )
    except TrainingError:
        return  # The run's events have the reason.
    except Exception:  # noqa: BLE001 - a run's accident must not end the sweep
        EventLog(Path(plan.run_dir) / EVENTS_FILE).append(
            "failure",
            reason=Reason.ERROR.value,
            policy=Policy.STOP.value,
            traceback=traceback.format_exc(),
        )


def _outcome(run: SweepRun, trials_dir: Path, watcher: Watcher) -> RunEvidence:
    """What became of a run that is over; written down, so that it is never asked again."""
    if (known := read_outcome(run, trials_dir)) is not None:
        return known
    events = read_events(run.run_dir / EVENTS_FILE)
    failures = [e for e in events if e["event"] == "failure" and e["policy"] == Policy.STOP]
    if (run.run_dir / RESULT_FILE).is_file():
        outcome = read_run_evidence(run, status=RunStatus.SUCCEEDED)
    elif watcher.should_stop():
        return read_run_evidence(run, status=RunStatus.STOPPED, reason=OUT_OF_BUDGET)
    elif failures and failures[-1]["reason"] != Reason.STOPPED_EARLY:
        outcome = read_run_evidence(run, status=RunStatus.FAILED, reason=failures[-1]["reason"])
    elif any(event["event"] == "epoch" for event in events):
        reason = Reason.STOPPED_EARLY.value
        outcome = read_run_evidence(run, status=RunStatus.STOPPED, reason=reason)
    else:
        reason = Reason.WORKER_DIED.value
        outcome = read_run_evidence(run, status=RunStatus.FAILED, reason=reason)
    outcome.save(trials_dir / f"{run.run_id}.json")
    return outcome
