"""From an exception to a machine-readable reason, and from a reason to what happens next."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from raymi.errors import CapabilityError, IntegrityError, RaymiError, TrainingError

ROOM_PATIENCE_S = 300.0
"""How long a run waits for room for its workers, however often it tries, before it has failed."""


class Reason(StrEnum):
    """Why a run or a trial ended without a result."""

    OUT_OF_MEMORY = "out_of_memory"
    DIVERGED = "diverged"
    BAD_GRADIENTS = "non_finite_gradients"
    SCALE_COLLAPSE = "loss_scale_collapsed"
    LOSS_SPIKE = "loss_spike"
    WORKER_DIED = "worker_died"
    NODE_LOST = "node_lost"
    NO_ROOM = "no_room"
    PREEMPTED = "preempted"
    DISK_FULL = "disk_full"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    UNSUPPORTED_PRECISION = "unsupported_precision"
    NEVER_FITS = "never_fits"
    DAMAGED_ARTIFACT = "damaged_artifact"
    STOPPED_EARLY = "stopped_early"
    ERROR = "error"


class Policy(StrEnum):
    """What is done about a reason, as long as the spec's patience lasts."""

    RETRY = "retry"
    """Go back to the newest good checkpoint and go on, with the workers there are."""

    SHRINK = "shrink"
    """Likewise, with half the micro-batch: the result does not depend on it."""

    STOP = "stop"
    """Trying again would end the same way."""


@dataclass(frozen=True, slots=True)
class Consequence:
    """What a reason means."""

    policy: Policy
    sentence: str
    fix: str


CONSEQUENCES: dict[Reason, Consequence] = {
    Reason.OUT_OF_MEMORY: Consequence(
        policy=Policy.SHRINK,
        sentence="a worker ran out of memory",
        fix="lower batch.micro_batch_size; the result does not depend on it",
    ),
    Reason.DIVERGED: Consequence(
        policy=Policy.STOP,
        sentence="the loss stopped being a number",
        fix="lower optimizer.learning_rate, or use a wider precision",
    ),
    Reason.BAD_GRADIENTS: Consequence(
        policy=Policy.STOP,
        sentence="gradients stopped being numbers",
        fix="lower optimizer.learning_rate, or use a wider precision (bf16, fp32)",
    ),
    Reason.SCALE_COLLAPSE: Consequence(
        policy=Policy.STOP,
        sentence="fp16 found no loss scale at which gradients are finite",
        fix="use bf16, which has the range of fp32, or lower optimizer.learning_rate",
    ),
    Reason.LOSS_SPIKE: Consequence(
        policy=Policy.STOP,
        sentence="the loss rose far above where it started",
        fix="lower optimizer.learning_rate, raise schedule.warmup_fraction, or set "
        "health.max_loss_growth to null",
    ),
    Reason.WORKER_DIED: Consequence(
        policy=Policy.RETRY,
        sentence="a worker process was lost",
        fix="look for the out-of-memory killer; raise checkpoint.max_failures",
    ),
    Reason.NODE_LOST: Consequence(
        policy=Policy.RETRY,
        sentence="a node was lost",
        fix="bring it back, or set resources.num_workers to a range: {min: 1, max: 8}",
    ),
    Reason.NO_ROOM: Consequence(
        policy=Policy.RETRY,
        sentence="there was no room for the workers in time",
        fix="free the cluster, or set resources.num_workers to a range: {min: 1, max: 8}",
    ),
    Reason.PREEMPTED: Consequence(
        policy=Policy.STOP,
        sentence="the job was told to end",
        fix="continue with --resume",
    ),
    Reason.DISK_FULL: Consequence(
        policy=Policy.STOP,
        sentence="the store is full",
        fix="free space in the store and continue with --resume, or lower checkpoint.keep",
    ),
    Reason.STORAGE_UNAVAILABLE: Consequence(
        policy=Policy.STOP,
        sentence="the store could not be written",
        fix="bring the storage back and continue with --resume, or raise "
        "checkpoint.storage_patience_s",
    ),
    Reason.UNSUPPORTED_PRECISION: Consequence(
        policy=Policy.STOP,
        sentence="the accelerator cannot compute with this precision",
        fix="remove it from the space, or use another accelerator",
    ),
    Reason.NEVER_FITS: Consequence(
        policy=Policy.STOP,
        sentence="no node of this cluster can ever hold its workers",
        fix="lower resources.num_workers or resources.cpus_per_worker",
    ),
    Reason.DAMAGED_ARTIFACT: Consequence(
        policy=Policy.STOP,
        sentence="stored bytes are not the bytes that were published",
        fix="import the data again, or start a new run",
    ),
    Reason.STOPPED_EARLY: Consequence(
        policy=Policy.STOP,
        sentence="the scheduler stopped it: others were better at the same epoch",
        fix="use `scheduler.name: fifo` to train every trial fully",
    ),
    Reason.ERROR: Consequence(
        policy=Policy.STOP,
        sentence="the training code raised an exception",
        fix="read the traceback in the run's events",
    ),
}


@dataclass(frozen=True, slots=True)
class Tally:
    """What has happened to a run so far."""

    num_failures: int = 0
    """Failures that may pass, tried again."""

    num_shrinks: int = 0
    """Times the micro-batch was halved."""

    micro_batch_size: int = 1
    """In force."""

    waited_s: float = 0.0
    """How long it has been without workers, for want of room."""

    def after(self, reason: Reason, policy: Policy) -> Self:
        """Count a failure that is not the last.

        Waiting for room is not counted, only timed: no work is lost by it.
        """
        if policy is Policy.SHRINK:
            half = self.micro_batch_size // 2
            return replace(self, num_shrinks=self.num_shrinks + 1, micro_batch_size=half)
        if reason is Reason.NO_ROOM:
            return self
        return replace(self, num_failures=self.num_failures + 1)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the spec allows."""

    max_failures: int
    max_shrinks: int
    room_patience_s: float = ROOM_PATIENCE_S


def decide(reason: Reason, tally: Tally, allowance: Allowance) -> Policy:
    """What to do after a failure: the reason's policy while it is allowed, else stop."""
    policy = CONSEQUENCES[reason].policy
    if reason is Reason.NO_ROOM:
        return policy if tally.waited_s < allowance.room_patience_s else Policy.STOP
    if policy is Policy.RETRY and tally.num_failures < allowance.max_failures:
        return Policy.RETRY
    can_shrink = tally.num_shrinks < allowance.max_shrinks and tally.micro_batch_size > 1
    if policy is Policy.SHRINK and can_shrink:
        return Policy.SHRINK
    return Policy.STOP


_DEATHS = {
    "ActorDiedError",
    "ActorUnavailableError",
    "LocalRayletDiedError",
    "WorkerCrashedError",
    "WorkerHealthCheckFailedError",
    "WorkerHealthCheckTimeoutError",
}
_NO_ROOM = {"WorkerGroupStartupTimeoutError", "WorkerGroupStartupFailedError"}
_NODE_LOSSES = {"NodeDiedError", "PreemptionError"}
_MEMORY_SIGNS = ("out of memory", "can't allocate memory")
_NODE_SIGNS = ("node died", "its node has died", "the node it was running on", "node failure")
# Tune stops a trial by taking its place away, which kills whatever runs there.
_STOPPED = "its placement group was removed"
_OF_TRAINING_ITSELF = (
    Reason.DIVERGED,
    Reason.BAD_GRADIENTS,
    Reason.SCALE_COLLAPSE,
    Reason.LOSS_SPIKE,
    Reason.DISK_FULL,
    Reason.STORAGE_UNAVAILABLE,
    Reason.PREEMPTED,
)
_PEER_LOSS = ("connection closed by peer", "connection reset by peer", "broken pipe", "gloo")


def classify(error: BaseException) -> Reason:
    """Name the reason behind what a worker group raised.

    One rank's death makes its peers raise connection errors; the most specific reason among
    all ranks wins.
    """
    reasons = {_classify_one(cause) for cause in _causes(error)} - {None}
    for reason in (
        Reason.OUT_OF_MEMORY,
        *_OF_TRAINING_ITSELF,
        Reason.UNSUPPORTED_PRECISION,
        Reason.DAMAGED_ARTIFACT,
        Reason.STOPPED_EARLY,
        Reason.NODE_LOST,
        Reason.WORKER_DIED,
        Reason.NO_ROOM,
    ):
        if reason in reasons:
            return reason
    return Reason.ERROR


def first_cause(error: BaseException) -> BaseException:
    """The exception a person should read: the first of ours, else the deepest."""
    causes = list(_causes(error))
    return next((cause for cause in causes if isinstance(cause, RaymiError)), causes[-1])


def training_error(error: BaseException, *, run_id: str, attempts: int) -> TrainingError:
    """The error a job ends with."""
    reason = classify(error)
    consequence = CONSEQUENCES[reason]
    cause = first_cause(error)
    tries = f" after {attempts} attempts" if attempts > 1 else ""
    return TrainingError(
        f"run {run_id} failed{tries}: {consequence.sentence}",
        reason=reason.value,
        why=_detail(cause),
        fix=consequence.fix,
    )


def _detail(cause: BaseException) -> str:
    """One line: Ray appends pages of advice to the first."""
    if isinstance(cause, RaymiError):
        return cause.why
    lines = [line for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0].strip()}" if lines else type(cause).__name__


def _classify_one(error: BaseException) -> Reason | None:
    name, text = type(error).__name__, str(error).lower()
    if isinstance(error, TrainingError):
        return Reason(error.reason)
    if isinstance(error, CapabilityError):
        return Reason.UNSUPPORTED_PRECISION
    if isinstance(error, IntegrityError):
        return Reason.DAMAGED_ARTIFACT
    if (
        name == "OutOfMemoryError"
        or isinstance(error, MemoryError)
        or any(sign in text for sign in _MEMORY_SIGNS)
    ):
        return Reason.OUT_OF_MEMORY
    if name in _NO_ROOM:
        return Reason.NO_ROOM
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Reason.DISK_FULL
    if name in ("NodeDiedError", "PreemptionError") or (
        name in _DEATHS and any(sign in text for sign in _NODE_SIGNS)
    ):
        return Reason.NODE_LOST
    if name in _DEATHS:
        return Reason.STOPPED_EARLY if _STOPPED in text else Reason.WORKER_DIED
    if isinstance(error, RuntimeError) and any(sign in text for sign in _PEER_LOSS):
        return Reason.WORKER_DIED
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception, everything it wraps, and every rank's own failure."""
    pending, seen = [error], set[int]()
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        ranks = getattr(current, "worker_failures", None)
        if isinstance(ranks, dict):
            pending += [failure for failure in ranks.values() if isinstance(failure, BaseException)]
        for name in ("__cause__", "cause", "_failure", "controller_failure"):
            below = getattr(current, name, None)
            if isinstance(below, BaseException):
                pending.append(below)
