"""What follows from the evidence: where each candidate stands, who wins, what is to be said."""

from __future__ import annotations

from enum import StrEnum

from raymi.serve.tuning.gate import GateVerdict
from raymi.store.record import Record


class Status(StrEnum):
    """How far a candidate came."""

    CANNOT_RUN = "cannot_run"
    TOO_LARGE = "too_large"
    """The cluster has not the CPUs."""

    TOO_SLOW = "too_slow"
    """Forward passes alone take too long: it was not deployed."""

    NOT_GOOD_ENOUGH = "not_good_enough"
    NOT_DEPLOYED = "not_deployed"
    """Others were more promising, or the budget was used up."""

    FAILED = "failed"
    MISSED = "missed"
    """The p99 is shown to be above the objective."""

    UNSURE = "unsure"
    """The objective lies within the interval."""

    MET = "met"


class Standing(Record):
    """One candidate."""

    candidate: int
    status: Status
    why: str
    rows_per_s: float | None = None
    """What forward passes alone could carry."""

    forecast_p99_ms: float | None = None
    """What forward passes alone would take."""

    num_runs: int = 0
    num_requests: int = 0
    """Under load, failed ones too."""

    num_failed: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    """None: not measured, or so many requests failed that there is none."""

    p99_low_ms: float | None = None
    p99_high_ms: float | None = None
    """None: there is no upper limit."""

    good_per_s: float | None = None
    """Answers with status 200 a second."""

    is_on_front: bool = False
    """Whether none that may be served is both cheaper and faster."""


class TuningDecision(Record):
    """What a tuning came to."""

    gates: tuple[GateVerdict, ...]
    standings: tuple[Standing, ...]
    """In the order of the candidates."""

    winner: int | None
    """Candidate; None: none is shown to meet the objective."""

    closest: int | None = None
    """Without a winner: the one that missed by least."""

    sentence: str
    """Who won and why, or what to change."""
