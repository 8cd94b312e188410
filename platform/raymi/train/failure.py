"""From an exception to a machine-readable reason, and from a reason to what happens next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from raymi.errors import CapabilityError, IntegrityError, RaymiError, TrainingError


class Reason(StrEnum):
    """Why a run or a trial ended without a result."""

    OUT_OF_MEMORY = "out_of_memory"
    DIVERGED = "diverged"
    WORKER_DIED = "worker_died"
    UNSUPPORTED_PRECISION = "unsupported_precision"
    NEVER_FITS = "never_fits"
    DAMAGED_ARTIFACT = "damaged_artifact"
    STOPPED_EARLY = "stopped_early"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Consequence:
    """What a reason means."""

    is_retryable: bool
    sentence: str
    fix: str


CONSEQUENCES: dict[Reason, Consequence] = {
    Reason.OUT_OF_MEMORY: Consequence(
        is_retryable=False,
        sentence="a worker ran out of memory",
        fix="lower batch.micro_batch_size; the result does not depend on it",
    ),
    Reason.DIVERGED: Consequence(
        is_retryable=False,
        sentence="the loss stopped being a number",
        fix="lower optimizer.learning_rate, or use a wider precision",
    ),
    Reason.WORKER_DIED: Consequence(
        is_retryable=True,
        sentence="a worker process or its node was lost",
        fix="look for the out-of-memory killer or a lost node; raise checkpoint.max_failures",
    ),
    Reason.UNSUPPORTED_PRECISION: Consequence(
        is_retryable=False,
        sentence="the accelerator cannot compute with this precision",
        fix="remove it from the space, or use another accelerator",
    ),
    Reason.NEVER_FITS: Consequence(
        is_retryable=False,
        sentence="no node of this cluster can ever hold its workers",
        fix="lower resources.num_workers or resources.cpus_per_worker",
    ),
    Reason.DAMAGED_ARTIFACT: Consequence(
        is_retryable=False,
        sentence="stored bytes are not the bytes that were published",
        fix="import the data again, or start a new run",
    ),
    Reason.STOPPED_EARLY: Consequence(
        is_retryable=False,
        sentence="the scheduler stopped it: others were better at the same epoch",
        fix="use `scheduler.name: fifo` to train every trial fully",
    ),
    Reason.ERROR: Consequence(
        is_retryable=False,
        sentence="the training code raised an exception",
        fix="read the traceback in the run's events",
    ),
}

_DEATHS = {
    "ActorDiedError",
    "ActorUnavailableError",
    "LocalRayletDiedError",
    "NodeDiedError",
    "WorkerCrashedError",
    "WorkerHealthCheckFailedError",
    "WorkerHealthCheckTimeoutError",
}
# Tune stops a trial by taking its place away, which kills whatever runs there.
_STOPPED = "its placement group was removed"
_PEER_LOSS = ("connection closed by peer", "connection reset by peer", "broken pipe", "gloo")


def classify(error: BaseException) -> Reason:
    """Name the reason behind what a worker group raised.

    One rank's death makes its peers raise connection errors; the most specific reason among
    all ranks wins.
    """
    reasons = {_classify_one(cause) for cause in _causes(error)} - {None}
    for reason in (
        Reason.OUT_OF_MEMORY,
        Reason.DIVERGED,
        Reason.UNSUPPORTED_PRECISION,
        Reason.DAMAGED_ARTIFACT,
        Reason.STOPPED_EARLY,
        Reason.WORKER_DIED,
    ):
        if reason in reasons:
            return reason
    return Reason.ERROR


def first_cause(error: BaseException) -> BaseException:
    """The exception a person should read: the first of ours, else the deepest."""
    causes = list(_causes(error))
    return next((cause for cause in causes if isinstance(cause, RaymiError)), causes[-1])


def may_retry(reason: Reason, *, attempts: int, max_failures: int) -> bool:
    """Whether going back to the newest checkpoint could help and is still allowed."""
    return CONSEQUENCES[reason].is_retryable and attempts <= max_failures


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
    if name == "OutOfMemoryError" or isinstance(error, MemoryError) or "out of memory" in text:
        return Reason.OUT_OF_MEMORY
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
        for name in ("__cause__", "cause", "_failure"):
            below = getattr(current, name, None)
            if isinstance(below, BaseException):
                pending.append(below)
