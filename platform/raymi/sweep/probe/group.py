"""Runs a probe on the cluster: one worker group, and a new one only if it was lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from raymi.errors import TrainingError
from raymi.sweep.evidence import ProbeEvidence
from raymi.sweep.probe import journal
from raymi.sweep.probe.journal import JOURNAL_FILE, ProbeJournal, looked_at, read_probe
from raymi.sweep.probe.memory import OUT_OF_MEMORY
from raymi.sweep.probe.plan import PLAN_FILE, ProbePlan
from raymi.sweep.probe.progress import ProbeProgress
from raymi.sweep.probe.worker import STOP_FILE
from raymi.train.events import EventReader, read_events
from raymi.train.failure import CONSEQUENCES, Reason, classify, first_cause, training_error

_LOOK_INTERVAL_S = 0.2

_GRACE_S = 2.0
"""For the measurement that is under way when the budget ends; then the workers are killed."""

_MOST_UNEXPLAINED = 3
"""Deaths in a row while nothing was being measured; then it is not the settings."""

_FROM_OUTSIDE = (Reason.WORKER_DIED, Reason.NODE_LOST, Reason.PREEMPTED)
"""Reasons that a setting may have nothing to do with: it is measured again before it is blamed."""

_OF_THE_STORE = (Reason.DISK_FULL, Reason.STORAGE_UNAVAILABLE)
"""No setting's fault, and no use to go on."""


class RunningGroup(Protocol):
    """Workers that probe."""

    def has_ended(self, *, within_s: float) -> bool:
        """Wait a little; whether all workers have returned. Raises what made one fail."""

    def kill(self) -> None:
        """End all workers at once, whatever they are doing, and free what they hold."""


class Starter(Protocol):
    """Where worker groups come from."""

    def wait(self, is_over: Callable[[], bool]) -> None:
        """Until there is room for one, or it is over. Raises TrainingError: there is none."""

    def start(self) -> RunningGroup:
        """Ask for one."""


def run_probe(
    plan: ProbePlan,
    *,
    starter: Starter,
    say: Callable[[str], None],
    should_stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.time,
) -> ProbeEvidence:
    """Measure everything that the journal does not have yet.

    Args:
        plan: What to measure.
        starter: Starts the workers.
        say: Receives progress, a line at a time.
        should_stop: Whether to end now, with what there is.
        clock: As that of the journal's events.

    Raises:
        TrainingError: There is no room for the workers, they die and no setting explains it, or
            the store cannot be written.
    """
    _Driver(plan, starter, say, should_stop, clock).run()
    return read_probe(Path(plan.probe_dir))


class _Driver:
    """All worker groups of one probe."""

    def __init__(
        self,
        plan: ProbePlan,
        starter: Starter,
        say: Callable[[str], None],
        should_stop: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._plan = plan
        self._starter = starter
        self._dir = Path(plan.probe_dir)
        self._say = say
        self._should_stop = should_stop
        self._clock = clock
        self._journal = ProbeJournal(self._dir)

    def run(self) -> None:
        """Group after group, until everything is measured."""
        (self._dir / STOP_FILE).unlink(missing_ok=True)
        self._plan.save(self._dir / PLAN_FILE)
        num_groups, num_unexplained = 0, 0
        while not self._is_over():
            self._starter.wait(self._is_over)
            if self._is_over():
                return
            num_groups += 1
            try:
                if self._run_group():
                    return
                num_unexplained = 0
            except Exception as error:
                num_unexplained += 1
                if (reason := classify(error)) in _OF_THE_STORE:
                    raise self._no_store(reason, error) from error
                if num_unexplained >= _MOST_UNEXPLAINED:
                    raise training_error(
                        error, run_id=self._plan.sweep_id, attempts=num_groups
                    ) from error

    def _no_store(self, reason: Reason, error: Exception) -> TrainingError:
        return TrainingError(
            f"the probe of {self._plan.sweep_id}: {_sentence(reason)}",
            reason=reason.value,
            why=_first_line(error),
            fix="free space in the store, and start the same command again: it goes on",
        )

    def _is_over(self) -> bool:
        is_complete = self._journal.progress().is_complete
        return is_complete or self._is_spent() or self._should_stop()

    def _is_spent(self, *, held_until: float | None = None) -> bool:
        limit_s = self._plan.limit_s
        return limit_s is not None and self._journal.accelerator_s(held_until) >= limit_s

    def _run_group(self) -> bool:
        """From its start to its end; False: it was lost while something was being measured.

        Raises:
            Exception: Of whoever runs the workers; one failed, while nothing was measured.
        """
        reader = EventReader(self._dir / JOURNAL_FILE)
        tell = ProbeProgress(self._plan, self._say, earlier=reader.new_events())
        self._journal.note(journal.STARTED, num_workers=self._plan.num_workers)
        try:
            self._stay(self._starter.start(), reader, tell)
        except Exception as error:
            if classify(error) in _OF_THE_STORE or not self._blame(error):
                raise
            return False
        finally:
            self._journal.note(journal.ENDED)
            tell.all_of(reader.new_events())
        return True

    def _stay(self, group: RunningGroup, reader: EventReader, tell: ProbeProgress) -> None:
        is_ready, stop_at = False, None
        while not group.has_ended(within_s=_LOOK_INTERVAL_S):
            events = list(reader.new_events())
            is_ready = is_ready or any(event["event"] == journal.READY for event in events)
            tell.all_of(events)
            now = self._clock()
            if stop_at is None and (self._is_spent(held_until=now) or self._should_stop()):
                (self._dir / STOP_FILE).touch()
                # Workers that are still starting do not look for the file.
                stop_at = now + _GRACE_S if is_ready else now
            if stop_at is not None and now >= stop_at:
                group.kill()
                return

    def _blame(self, error: Exception) -> bool:
        """Fail whatever was being measured when the workers were lost; whether that was known.

        What may have come from outside fails the second time only.
        """
        lost = looked_at(read_events(self._dir / JOURNAL_FILE))
        unsuspected = set(lost) - self._journal.progress().suspects
        if unsuspected and classify(error) in _FROM_OUTSIDE:
            self._journal.suspect(sorted(unsuspected))
            self._say(f"probe: {_sentence(classify(error))}; what it measured is measured again")
        else:
            self._journal.fail(map(self._plan.setting, lost), _why(error), died=True)
        return bool(lost)


def _why(error: Exception) -> str:
    reason = classify(error)
    if reason is Reason.OUT_OF_MEMORY:
        return f"{OUT_OF_MEMORY}: while it was probed"
    if reason is not Reason.ERROR:
        return f"{_sentence(reason)} while it was probed"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    cause = first_cause(error)
    line = next(iter(str(cause).strip().splitlines()), "")
    return f"{type(cause).__name__}: {line}"[:200]


def _sentence(reason: Reason) -> str:
    return CONSEQUENCES[reason].sentence
