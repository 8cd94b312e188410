"""All attempts of one run, and what is done about whatever ends each of them."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from raymi.errors import TrainingError
from raymi.train.checkpoint_writer import persist
from raymi.train.cost import ENDED, STARTING
from raymi.train.events import EVENTS_FILE, EventLog, EventReader, read_events
from raymi.train.failure import (
    CONSEQUENCES,
    ROOM_PATIENCE_S,
    Allowance,
    Policy,
    Reason,
    Tally,
    classify,
    decide,
    training_error,
)
from raymi.train.interruption import Cause, EndRequests, LeaveNote
from raymi.train.outcome import OUTCOME_FILE, Outcome
from raymi.train.plan import TrainPlan
from raymi.train.telemetry import forget_ranks
from raymi.train.worker_group import GrowthWatch, Room, wait_for_room

_LOOK_INTERVAL_S = 0.2


class RunningAttempt(Protocol):
    """Workers that train."""

    def has_ended(self, *, within_s: float) -> bool:
        """Wait a little; whether all workers have returned. Raises what made one fail."""


StartAttempt = Callable[[TrainPlan, int], RunningAttempt]
"""Starts so many workers on a plan, and does not wait for them."""


class Campaign:
    """All attempts of one run."""

    def __init__(
        self,
        plan: TrainPlan,
        *,
        room: Room,
        start: StartAttempt,
        end_requests: EndRequests,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Get ready; `run` does the work.

        Args:
            plan: What to train.
            room: Where to look for a place for its workers.
            start: Starts an attempt with so many workers.
            end_requests: How often the job was told to end, so far.
            clock: Seconds.
            sleep: Waits for as many seconds.
        """
        self._plan = plan
        self._room = room
        self._start = start
        self._end_requests = end_requests
        self._clock = clock
        self._sleep = sleep
        self._run_dir = Path(plan.run_dir)
        self._log = EventLog(self._run_dir / EVENTS_FILE)
        self._note = LeaveNote(self._run_dir)
        self._tally = Tally(micro_batch_size=plan.micro_batch_size)
        self._num_attempts = 0
        self._waits_since: float | None = None
        self._asked: Cause | None = None

    def run(self) -> tuple[Outcome, int]:
        """Attempt after attempt, until one finishes; what was measured, and their number.

        Raises:
            TrainingError: A retry cannot help, or there were enough of them, or the job was told
                to end.
        """
        outcome_file = self._run_dir / OUTCOME_FILE
        while True:
            self._num_attempts += 1
            try:
                self._prepare()
                self._attempt()
            except _ToldToEnd:
                raise self._stopped() from None
            except Exception as error:  # noqa: BLE001 - every way to fail has a reason
                self._after(error)
                continue
            if outcome_file.is_file():
                return Outcome.load(outcome_file), self._num_attempts
            # The workers saved and left: go on with the cluster as it is now, or end.
            if self._end_requests.count:
                raise self._stopped()

    def _prepare(self) -> None:
        """Remove what an earlier attempt may have left.

        Raises:
            TrainingError: The store is away, and patience has ended.
        """

        def prepare() -> None:
            # Where storage is away, that nothing is there says nothing.
            self._run_dir.stat()
            self._note.clear()
            forget_ranks(self._run_dir)

        persist(prepare, self._plan.spec.checkpoint.storage_patience_s)

    def _attempt(self) -> None:
        """Start as many workers as there is room for, and stay until all have returned.

        Raises:
            TrainingError: There was no room.
            _ToldToEnd: The job was told to end, and the workers are not to be waited for.
            Exception: Of whoever runs the workers; one failed.
        """
        num_workers = self._wait_for_room()
        growth = GrowthWatch(self._room, num_workers=num_workers, clock=self._clock)
        events = EventReader(self._run_dir / EVENTS_FILE)
        list(events.new_events())
        self._asked = None
        self._log.append(STARTING, num_workers=num_workers)
        try:
            self._stay(self._start(self._plan, num_workers), events, growth)
        finally:
            self._log.append(ENDED)
        self._waits_since = None

    def _stay(self, attempt: RunningAttempt, events: EventReader, growth: GrowthWatch) -> None:
        """Until all workers have returned.

        Raises:
            _ToldToEnd: The job was told to end, and the workers are not to be waited for.
            Exception: Of whoever runs the workers; one failed.
        """
        while not attempt.has_ended(within_s=_LOOK_INTERVAL_S):
            if any(event["event"] == "attempt" for event in events.new_events()):
                self._waits_since = None
                growth.began()
            if self._end_requests.count > 1:
                raise _ToldToEnd
            if self._end_requests.count == 1:
                self._ask_to_leave(Cause.STOP)
            elif growth.is_due():
                self._ask_to_leave(Cause.RESIZE)

    def _wait_for_room(self) -> int:
        if self._waits_since is None:
            self._waits_since = self._clock()
        num_workers = wait_for_room(
            self._room,
            patience_s=ROOM_PATIENCE_S - self._waited_s(),
            is_over=lambda: self._end_requests.count > 0,
            clock=self._clock,
            sleep=self._sleep,
        )
        if self._end_requests.count:
            raise _ToldToEnd
        if num_workers is None:
            raise _no_room(self._plan.run_id, self._room, self._waited_s())
        return num_workers

    def _waited_s(self) -> float:
        """How long the run has been without workers, for want of room."""
        return 0.0 if self._waits_since is None else self._clock() - self._waits_since

    def _ask_to_leave(self, cause: Cause) -> None:
        if self._asked is cause:
            return
        try:
            self._note.write(cause)
        except OSError:
            return  # Again at the next look.
        self._asked = cause
        if cause is Cause.STOP:
            self._log.append("stopping")

    def _after(self, error: Exception) -> None:
        """Write the failure down; get ready to try again, or raise."""
        reason = classify(error)
        spec = self._plan.spec
        if reason is not Reason.NO_ROOM:
            self._waits_since = None
        self._tally = replace(self._tally, waited_s=self._waited_s())
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
        if self._end_requests.count:
            raise self._stopped() from error
        self._tally = self._tally.after(reason, policy)
        self._plan = self._plan.model_copy(
            update={"micro_batch_size": self._tally.micro_batch_size}
        )

    def _stopped(self) -> TrainingError:
        """The job was told to end; says from where the run can go on."""
        events = read_events(self._run_dir / EVENTS_FILE)
        steps = [event["step"] for event in events if event["event"] in ("checkpoint", "left")]
        saved = max(steps, default=0)
        self._log.append("stopped", reason=Reason.PREEMPTED.value, step=saved)
        return TrainingError(
            f"run {self._plan.run_id} was stopped: {CONSEQUENCES[Reason.PREEMPTED].sentence}",
            reason=Reason.PREEMPTED.value,
            why=f"a signal came; step {saved} is saved"
            if saved
            else "a signal came; no step is saved yet",
            fix=f"continue with --resume {self._plan.run_id}",
        )


class _ToldToEnd(Exception):  # noqa: N818 - not an error
    """This driver was told to end, and no worker is to be waited for."""


def _no_room(run_id: str, room: Room, waited_s: float) -> TrainingError:
    return TrainingError(
        f"run {run_id}: {CONSEQUENCES[Reason.NO_ROOM].sentence}",
        reason=Reason.NO_ROOM.value,
        why=f"for {waited_s:.0f} s: {room.sentence()}",
        fix=CONSEQUENCES[Reason.NO_ROOM].fix,
    )
