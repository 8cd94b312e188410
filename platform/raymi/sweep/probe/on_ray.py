"""Starts a probe's workers on Ray, and kills them if they have to go at once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.train.v2._internal.execution.callback import ControllerCallback

from raymi.accelerators.catalog import find
from raymi.accelerators.environment import check_visible_devices
from raymi.errors import TrainingError
from raymi.specs.resources import ResourceSpec
from raymi.sweep.kill_file import die_once_there_is
from raymi.sweep.places import free_places, list_places
from raymi.sweep.probe.plan import PLAN_FILE, ProbePlan
from raymi.sweep.probe.worker import probe_worker
from raymi.train import cluster
from raymi.train.attempt import Attempt, Group, make_trainer
from raymi.train.failure import CONSEQUENCES, ROOM_PATIENCE_S, Reason
from raymi.train.worker_group import Room, wait_for_room

_KILL_FILE = "kill"

_FAREWELL_S = 10.0
"""How long dead workers may take until the cluster has noticed."""


class RayStarter:
    """Implements `Starter`."""

    def __init__(self, plan: ProbePlan) -> None:
        self._plan = plan

    def wait(self, is_over: Callable[[], bool]) -> None:
        """Until all workers have a place; waiting costs nobody's accelerator-seconds.

        Raises:
            TrainingError: They still have none after minutes.
        """
        room = Room(_resources(self._plan), find(self._plan.accelerator), cluster.free)
        if wait_for_room(room, patience_s=ROOM_PATIENCE_S, is_over=is_over) or is_over():
            return
        reason = CONSEQUENCES[Reason.NO_ROOM]
        raise TrainingError(
            f"the probe of {self._plan.sweep_id}: {reason.sentence}",
            reason=Reason.NO_ROOM.value,
            why=room.sentence(),
            fix=reason.fix,
        )

    def start(self) -> _RayGroup:
        """Ask for a worker group."""
        return _RayGroup(self._plan)


class _RayGroup:
    """Implements `RunningGroup`."""

    def __init__(self, plan: ProbePlan) -> None:
        self._kill_file = Path(plan.probe_dir) / _KILL_FILE
        self._kill_file.unlink(missing_ok=True)
        self._places_before = list_places()
        group = Group(
            name=f"{plan.sweep_id}-probe",
            accelerator=find(plan.accelerator),
            resources=_resources(plan),
            num_workers=plan.num_workers,
            precision=plan.setting(plan.reference).precision,
        )
        config = {"plan_file": str(Path(plan.probe_dir) / PLAN_FILE)}
        callbacks = [_DieOnRequest(self._kill_file)]
        self._attempt = Attempt(
            lambda directory: make_trainer(
                _probe, config, group, directory=directory, callbacks=callbacks
            )
        )

    def has_ended(self, *, within_s: float) -> bool:
        """See `Attempt`."""
        return self._attempt.has_ended(within_s=within_s)

    def kill(self) -> None:
        """End the controller: its workers go with it, and then their places."""
        self._kill_file.touch()
        with contextlib.suppress(Exception):  # They were to die.
            self._attempt.has_ended(within_s=_FAREWELL_S)
        # Ray frees the places of a group that had started; of one that had not, only with the job.
        free_places(list_places() - self._places_before)


class _DieOnRequest(ControllerCallback):  # type: ignore[misc]  # Ray is untyped
    """Ends the controller's process as soon as a file is there."""

    def __init__(self, kill_file: Path) -> None:
        self._kill_file = kill_file

    def after_controller_start(self, train_run_context: Any) -> None:  # noqa: ARG002 - Ray's
        """Runs in the controller before anything is started; see `ControllerCallback`."""
        die_once_there_is(self._kill_file)


def _resources(plan: ProbePlan) -> ResourceSpec:
    return ResourceSpec(
        accelerator=plan.accelerator,
        num_workers=plan.num_workers,
        cpus_per_worker=plan.cpus_per_worker,
    )


def _probe(config: dict[str, Any]) -> None:
    """In each worker."""
    from raymi.train.launcher import RayTrainLauncher

    plan = ProbePlan.load(Path(config["plan_file"]))
    if find(plan.accelerator).vendor == "amd":
        check_visible_devices(os.environ)
    probe_worker(plan, RayTrainLauncher())
