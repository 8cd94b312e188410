"""Run a plan on Ray Train, and deal with whatever ends an attempt, by reason."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.execution.callback import WorkerGroupCallback

from raymi.accelerators.catalog import find
from raymi.accelerators.environment import check_visible_devices, worker_environment
from raymi.errors import TrainingError
from raymi.train import cluster
from raymi.train.admission import worker_resources
from raymi.train.events import EVENTS_FILE, EventLog, read_events
from raymi.train.failure import (
    CONSEQUENCES,
    Allowance,
    Policy,
    Reason,
    Tally,
    classify,
    decide,
    training_error,
)
from raymi.train.interruption import Cause, LeaveNote, told_to_stop
from raymi.train.outcome import OUTCOME_FILE, Outcome
from raymi.train.plan import TrainPlan
from raymi.train.telemetry import forget_ranks
from raymi.train.worker_group import growth_watched, wait_for_room

RAY_DIRECTORY = "ray"
"""Below a run's directory: what Ray Train keeps about each attempt."""


def launch(
    plan: TrainPlan, *, callbacks: Sequence[ray.train.UserCallback] = ()
) -> tuple[Outcome, int]:
    """Train to the end; return what was measured and the number of attempts.

    Raises:
        TrainingError: It failed for a reason that a retry cannot help, or too often, or the
            job was told to end.
    """
    return _Campaign(plan, callbacks).run()


class _Campaign:
    """All attempts of one run."""

    def __init__(self, plan: TrainPlan, callbacks: Sequence[ray.train.UserCallback]) -> None:
        self._plan = plan
        self._callbacks = callbacks
        self._run_dir = Path(plan.run_dir)
        self._log = EventLog(self._run_dir / EVENTS_FILE)
        self._accelerator = find(plan.accelerator)
        self._tally = Tally(micro_batch_size=plan.micro_batch_size)
        self._num_attempts = 0
        # Attempts of earlier jobs of the same run keep their directories.
        self._first = len(list((self._run_dir / RAY_DIRECTORY).glob("attempt-*")))

    def run(self) -> tuple[Outcome, int]:
        """Attempt after attempt, until one finishes or a reason says stop."""
        note = LeaveNote(self._run_dir)
        with told_to_stop(note):
            while True:
                self._num_attempts += 1
                try:
                    self._attempt()
                except Exception as error:  # noqa: BLE001 - every way to fail has a reason
                    self._after(error)
                else:
                    if (self._run_dir / OUTCOME_FILE).is_file():
                        outcome = Outcome.load(self._run_dir / OUTCOME_FILE)
                        return outcome, self._num_attempts
                    self._after_leaving()

    def _attempt(self) -> None:
        resources = self._plan.spec.resources
        note = LeaveNote(self._run_dir)
        num_workers = wait_for_room(resources, self._accelerator, cluster.nodes)
        if num_workers is None:
            raise _no_room(self._plan)
        forget_ranks(self._run_dir)
        with growth_watched(
            resources, self._accelerator, cluster.nodes, num_workers=num_workers, note=note
        ):
            self._trainer(num_workers).fit()

    def _after(self, error: Exception) -> None:
        """Write the failure down; get ready to try again, or raise."""
        reason = classify(error)
        spec = self._plan.spec
        policy = decide(
            reason,
            self._tally,
            Allowance(
                max_failures=spec.checkpoint.max_failures, max_shrinks=spec.health.memory_shrinks
            ),
        )
        self._log.append(
            "failure",
            reason=reason.value,
            policy=policy.value,
            traceback="".join(traceback.format_exception(error))[-4000:],
        )
        if policy is Policy.STOP:
            raise training_error(
                error, run_id=self._plan.run_id, attempts=self._num_attempts
            ) from error
        if policy is Policy.RETRY:
            self._tally = replace(self._tally, num_failures=self._tally.num_failures + 1)
            return
        half = self._tally.micro_batch_size // 2
        self._tally = replace(
            self._tally, num_shrinks=self._tally.num_shrinks + 1, micro_batch_size=half
        )
        self._plan = self._plan.model_copy(update={"micro_batch_size": half})

    def _after_leaving(self) -> None:
        """The workers saved and left: go on with the cluster as it is now, or end.

        Raises:
            TrainingError: The job itself was told to end.
        """
        left = [e for e in read_events(self._run_dir / EVENTS_FILE) if e["event"] == "left"]
        cause = Cause(left[-1]["cause"]) if left else Cause.STOP
        LeaveNote(self._run_dir).clear()
        if cause is Cause.STOP:
            raise TrainingError(
                f"run {self._plan.run_id} was stopped: {CONSEQUENCES[Reason.PREEMPTED].sentence}",
                reason=Reason.PREEMPTED.value,
                why="the job received SIGTERM",
                fix=f"continue with --resume {self._plan.run_id}",
            )

    def _trainer(self, num_workers: int) -> TorchTrainer:
        accelerator, spec = self._accelerator, self._plan.spec
        return TorchTrainer(
            _worker_function,
            train_loop_config={"plan": self._plan.model_dump_json()},
            torch_config=TorchConfig(backend=accelerator.collective_backend),
            scaling_config=ScalingConfig(
                num_workers=num_workers,
                use_gpu=accelerator.is_gpu,
                resources_per_worker=worker_resources(spec.resources, accelerator),
                accelerator_type=accelerator.name if accelerator.is_gpu else None,
            ),
            run_config=RunConfig(
                name=f"attempt-{self._first + self._num_attempts:03d}",
                storage_path=str(self._run_dir / RAY_DIRECTORY),
                # Retries are decided by reason, here: Ray would repeat a diverged run too, and
                # wait for ever for a place that a lost node has taken with it.
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
                callbacks=[*self._callbacks, _ListenForSigterm()],
                worker_runtime_env={
                    "env_vars": worker_environment(
                        accelerator,
                        num_workers=num_workers,
                        precision=spec.precision,
                        # On a disk of each node: kernel caches break on shared file systems.
                        cache_dir=Path(tempfile.gettempdir()) / f"raymi-{self._plan.run_id}",
                    )
                },
            ),
        )


class _ListenForSigterm(WorkerGroupCallback):  # type: ignore[misc]  # Ray is untyped
    """Has each worker process take SIGTERM as a request to save and leave.

    The training function runs in a thread, and only the main thread may set a handler.
    """

    def before_init_train_context(self, workers: list[Any]) -> dict[str, list[Any]]:
        """Runs in the controller once the workers are there; see `WorkerGroupCallback`."""
        from raymi.train.interruption import listen_for_sigterm

        ray.get([worker.execute_async(listen_for_sigterm) for worker in workers])
        return {}


def _no_room(plan: TrainPlan) -> TrainingError:
    resources = plan.spec.resources
    return TrainingError(
        f"run {plan.run_id}: {CONSEQUENCES[Reason.NO_ROOM].sentence}",
        reason=Reason.NO_ROOM.value,
        why=f"{resources.min_workers} workers do not fit the nodes that are there now",
        fix=CONSEQUENCES[Reason.NO_ROOM].fix,
    )


def _worker_function(config: dict[str, Any]) -> None:
    from raymi.train.launcher import RayTrainLauncher
    from raymi.train.loop import train_worker

    plan = TrainPlan.model_validate_json(config["plan"])
    if find(plan.accelerator).vendor == "amd":
        check_visible_devices(os.environ)
    train_worker(plan, RayTrainLauncher())
