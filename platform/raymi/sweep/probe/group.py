"""Runs a probe on the cluster: one worker group, and a new one only if a setting has killed it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from raymi.accelerators.catalog import find
from raymi.specs.resources import ResourceSpec
from raymi.sweep.evidence import ProbeEvidence
from raymi.sweep.probe import journal
from raymi.sweep.probe.journal import JOURNAL_FILE, ProbeJournal, read_probe
from raymi.sweep.probe.plan import ProbePlan
from raymi.sweep.probe.worker import PLAN_FILE, STOP_FILE, probe_worker
from raymi.train.attempt import Attempt, Group, make_trainer
from raymi.train.events import Event, EventReader, read_events
from raymi.train.failure import CONSEQUENCES, classify
from raymi.train.follow import format_seconds

_LOOK_INTERVAL_S = 0.3

_MOST_UNEXPLAINED = 2
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
        should_stop: Whether to end between two windows, with what there is.
        start: Starts the workers; unset: on Ray.

    Raises:
        Exception: Of Ray; the group dies, and no setting explains it.
    """
    probe_dir = Path(plan.probe_dir)
    (probe_dir / STOP_FILE).unlink(missing_ok=True)
    pen = ProbeJournal(probe_dir)
    num_unexplained = 0
    while not _is_complete(plan):
        pen.note(journal.STARTED, num_workers=plan.num_workers)
        try:
            _stay(plan, (start or _start_on_ray)(plan), say=say, should_stop=should_stop)
        except Exception as error:
            reason = classify(error)
            index = journal.looked_at(read_events(probe_dir / JOURNAL_FILE))
            pen.note(journal.ENDED)
            num_unexplained = num_unexplained + 1 if index is None else 0
            if num_unexplained >= _MOST_UNEXPLAINED:
                raise
            if index is not None:
                why = CONSEQUENCES[reason].sentence
                pen.note(journal.FAILED, setting=index, why=f"while it was probed: {why}")
                say(f"probe: {plan.setting(index).label}: {why}; going on without it")
            continue
        pen.note(journal.ENDED)
        break
    return read_probe(probe_dir)


def _is_complete(plan: ProbePlan) -> bool:
    """Whether an earlier driver has seen the probe through."""
    events = read_events(Path(plan.probe_dir) / JOURNAL_FILE)
    return any(event["event"] == journal.COMPLETE for event in events)


def _stay(
    plan: ProbePlan,
    group: RunningGroup,
    *,
    say: Callable[[str], None],
    should_stop: Callable[[], bool],
) -> None:
    """Until the workers have returned; tells what they write."""
    probe_dir = Path(plan.probe_dir)
    reader = EventReader(probe_dir / JOURNAL_FILE)
    began_at: float | None = None
    while not group.has_ended(within_s=_LOOK_INTERVAL_S):
        for event in reader.new_events():
            if event["event"] == journal.WINDOW and began_at is None:
                began_at = event["time"]
            if line := _line(plan, event, began_at):
                say(line)
        if should_stop():
            (probe_dir / STOP_FILE).touch()


def _line(plan: ProbePlan, event: Event, began_at: float | None) -> str | None:
    match event["event"]:
        case journal.FAILED:
            return f"probe: {plan.setting(event['setting']).label}: {event['why']}"
        case journal.ROUND:
            done, total = event["round"] + 1, plan.spec.rounds
            eta_s = (event["time"] - (began_at or event["time"])) / done * (total - done)
            racing = len(plan.settings) - len(event["dropped"])
            return (
                f"probe: round {done} of at most {total}, {racing} settings, "
                f"about {format_seconds(eta_s)} left"
            )
    return None


def _start_on_ray(plan: ProbePlan) -> Attempt:
    (Path(plan.probe_dir) / PLAN_FILE).write_text(plan.model_dump_json(), encoding="utf-8")
    group = Group(
        name=f"{plan.sweep_id}-probe",
        accelerator=find(plan.accelerator),
        resources=ResourceSpec(
            accelerator=plan.accelerator,
            num_workers=plan.num_workers,
            cpus_per_worker=plan.cpus_per_worker,
        ),
        num_workers=plan.num_workers,
        precision=plan.setting(plan.reference).precision,
    )
    config = {"plan_file": str(Path(plan.probe_dir) / PLAN_FILE)}
    return Attempt(lambda directory: make_trainer(_probe, config, group, directory=directory))


def _probe(config: dict[str, Any]) -> None:
    """In each worker."""
    from raymi.train.launcher import RayTrainLauncher

    plan = ProbePlan.load(Path(config["plan_file"]))
    probe_worker(plan, RayTrainLauncher())
