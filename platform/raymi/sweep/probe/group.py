"""Runs a probe on the cluster: one worker group, and a new one only if a setting has killed it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from raymi.accelerators.catalog import find
from raymi.accelerators.environment import check_visible_devices
from raymi.errors import TrainingError
from raymi.specs.resources import ResourceSpec
from raymi.sweep.evidence import ProbeEvidence
from raymi.sweep.probe import journal
from raymi.sweep.probe.journal import JOURNAL_FILE, ProbeJournal, looked_at, read_probe
from raymi.sweep.probe.memory import OUT_OF_MEMORY
from raymi.sweep.probe.plan import PLAN_FILE, ProbePlan
from raymi.sweep.probe.progress import ProbeProgress
from raymi.sweep.probe.worker import STOP_FILE, probe_worker
from raymi.train import cluster
from raymi.train.attempt import Attempt, Group, make_trainer
from raymi.train.events import EventReader, read_events
from raymi.train.failure import (
    CONSEQUENCES,
    ROOM_PATIENCE_S,
    Reason,
    classify,
    first_cause,
    training_error,
)
from raymi.train.worker_group import Room, wait_for_room

_LOOK_INTERVAL_S = 0.2

_MOST_UNEXPLAINED = 3
"""Deaths in a row while nothing was being measured; then it is not the settings."""


class RunningGroup(Protocol):
    """Workers that probe."""

    def has_ended(self, *, within_s: float) -> bool:
        """Wait a little; whether all workers have returned. Raises what made one fail."""


def run_probe(
    plan: ProbePlan,
    *,
    say: Callable[[str], None],
    should_stop: Callable[[], bool] = lambda: False,
    start: Callable[[ProbePlan], RunningGroup] | None = None,
) -> ProbeEvidence:
    """Measure everything that the journal does not have yet.

    Args:
        plan: What to measure.
        say: Receives progress, a line at a time.
        should_stop: Whether to end between two measurements, with what there is.
        start: Starts the workers; unset: on Ray, once there is room.

    Raises:
        TrainingError: There is no room for the workers, or they die and no setting explains it.
    """
    driver = _Driver(plan, say, should_stop)
    if start is None:
        driver.run(_start_on_ray, wait=lambda: _wait_for_room(plan, should_stop))
    else:
        driver.run(start)
    return read_probe(Path(plan.probe_dir))


class _Driver:
    """All worker groups of one probe."""

    def __init__(
        self, plan: ProbePlan, say: Callable[[str], None], should_stop: Callable[[], bool]
    ) -> None:
        self._plan = plan
        self._dir = Path(plan.probe_dir)
        self._say = say
        self._should_stop = should_stop
        self._journal = ProbeJournal(self._dir)

    def run(
        self, start: Callable[[ProbePlan], RunningGroup], *, wait: Callable[[], None] | None = None
    ) -> None:
        """Group after group, until everything is measured."""
        (self._dir / STOP_FILE).unlink(missing_ok=True)
        self._plan.save(self._dir / PLAN_FILE)
        num_groups, num_unexplained = 0, 0
        while not self._is_over():
            if wait is not None:
                wait()
            num_groups += 1
            try:
                if self._run_group(start):
                    return
                num_unexplained = 0
            except Exception as error:
                num_unexplained += 1
                if num_unexplained >= _MOST_UNEXPLAINED:
                    raise training_error(
                        error, run_id=self._plan.sweep_id, attempts=num_groups
                    ) from error

    def _is_over(self) -> bool:
        limit_s = self._plan.limit_s
        is_spent = limit_s is not None and self._journal.accelerator_s() >= limit_s
        return self._journal.progress().is_complete or is_spent or self._should_stop()

    def _run_group(self, start: Callable[[ProbePlan], RunningGroup]) -> bool:
        """From its start to its end; False: settings have killed it, and are out.

        Raises:
            Exception: Of whoever runs the workers; one failed, while nothing was measured.
        """
        reader = EventReader(self._dir / JOURNAL_FILE)
        tell = ProbeProgress(self._plan, self._say, earlier=reader.new_events())
        self._journal.note(journal.STARTED, num_workers=self._plan.num_workers)
        try:
            self._stay(start(self._plan), reader, tell)
        except Exception as error:
            if not self._blame(error):
                raise
            return False
        finally:
            self._journal.note(journal.ENDED)
            tell.all_of(reader.new_events())
        return True

    def _stay(self, group: RunningGroup, reader: EventReader, tell: ProbeProgress) -> None:
        while not group.has_ended(within_s=_LOOK_INTERVAL_S):
            tell.all_of(reader.new_events())
            if self._should_stop():
                (self._dir / STOP_FILE).touch()

    def _blame(self, error: Exception) -> bool:
        """Fail whatever was being measured when the workers were lost; whether that was known."""
        lost = looked_at(read_events(self._dir / JOURNAL_FILE))
        self._journal.fail(map(self._plan.setting, lost), _why(error), died=True)
        return bool(lost)


def _why(error: Exception) -> str:
    reason = classify(error)
    if reason is Reason.OUT_OF_MEMORY:
        return f"{OUT_OF_MEMORY}: while it was probed"
    if reason is not Reason.ERROR:
        return f"{CONSEQUENCES[reason].sentence} while it was probed"
    cause = first_cause(error)
    line = next(iter(str(cause).strip().splitlines()), "")
    return f"{type(cause).__name__}: {line}"[:200]


def _resources(plan: ProbePlan) -> ResourceSpec:
    return ResourceSpec(
        accelerator=plan.accelerator,
        num_workers=plan.num_workers,
        cpus_per_worker=plan.cpus_per_worker,
    )


def _wait_for_room(plan: ProbePlan, is_over: Callable[[], bool]) -> None:
    """Until all workers have a place; waiting costs nobody's accelerator-seconds.

    Raises:
        TrainingError: They still have none after minutes.
    """
    room = Room(_resources(plan), find(plan.accelerator), cluster.free)
    if wait_for_room(room, patience_s=ROOM_PATIENCE_S, is_over=is_over) or is_over():
        return
    reason = CONSEQUENCES[Reason.NO_ROOM]
    raise TrainingError(
        f"the probe of {plan.sweep_id}: {reason.sentence}",
        reason=Reason.NO_ROOM.value,
        why=room.sentence(),
        fix=reason.fix,
    )


def _start_on_ray(plan: ProbePlan) -> Attempt:
    group = Group(
        name=f"{plan.sweep_id}-probe",
        accelerator=find(plan.accelerator),
        resources=_resources(plan),
        num_workers=plan.num_workers,
        precision=plan.setting(plan.reference).precision,
    )
    config = {"plan_file": str(Path(plan.probe_dir) / PLAN_FILE)}
    return Attempt(lambda directory: make_trainer(_probe, config, group, directory=directory))


def _probe(config: dict[str, Any]) -> None:
    """In each worker."""
    from raymi.train.launcher import RayTrainLauncher

    plan = ProbePlan.load(Path(config["plan_file"]))
    if find(plan.accelerator).vendor == "amd":
        check_visible_devices(os.environ)
    probe_worker(plan, RayTrainLauncher())
