"""How a version that is tried compares with the one it would replace, and when it is taken back.

Decisions only: counts in, a sentence or nothing out.
"""

from __future__ import annotations

from pydantic import Field

from raymi.specs.deploy import BreachRules
from raymi.store.record import Record

_CONFIDENCE = 0.95


class Tally(Record):
    """What one version did."""

    requests: int = 0
    """Answered, or failed."""

    faults: int = 0
    """Failed for a reason that was not the request's."""

    p50_ms: float | None = None
    """Median time of the lately answered, from parsed request to prediction."""

    p99_ms: float | None = None
    """99th percentile of the same."""


class Comparison(Record):
    """A version on trial beside the one that it would replace."""

    trial: str
    """`NAME@VERSION` of the one that is tried."""

    baseline: str
    """Of the other."""

    of_trial: Tally
    """What the first did."""

    of_baseline: Tally
    """What the other did since."""

    compared_rows: int = Field(default=0, ge=0)
    """Rows that both predicted."""

    agreeing_rows: int = Field(default=0, ge=0)
    """Rows for which both said the same label, or numbers that differ by less than the rules' share
    of the target's standard deviation."""


def breach(comparison: Comparison, rules: BreachRules) -> str | None:
    """Why the version on trial must be taken back; None: nothing speaks against it yet."""
    trial, baseline = comparison.of_trial, comparison.of_baseline
    for reason in (
        _faults(trial, baseline, rules),
        _latency(trial, baseline, rules),
        _agreement(comparison, rules),
    ):
        if reason is not None:
            return f"{comparison.trial}: {reason}"
    return None


def _faults(trial: Tally, baseline: Tally, rules: BreachRules) -> str | None:
    """Too many faults: more than allowed even if this sample were unlucky."""
    if trial.faults < rules.min_faults:
        return None
    usual = baseline.faults / baseline.requests if baseline.requests else 0.0
    allowed = usual + rules.max_fault_increase
    low = lower_bound(trial.faults, trial.requests)
    if low <= allowed:
        return None
    return (
        f"{trial.faults} of {trial.requests} requests failed (at least {low:.1%} with "
        f"{_CONFIDENCE:.0%} confidence); {allowed:.1%} are allowed"
    )


def _latency(trial: Tally, baseline: Tally, rules: BreachRules) -> str | None:
    if min(trial.requests, baseline.requests) < rules.min_requests:
        return None
    if trial.p99_ms is None or baseline.p99_ms is None:
        return None
    allowed_ms = max(rules.max_p99_ratio * baseline.p99_ms, baseline.p99_ms + rules.p99_slack_ms)
    if trial.p99_ms <= allowed_ms:
        return None
    return (
        f"p99 is {trial.p99_ms:.1f} ms, that of {baseline.requests} requests of the other version "
        f"{baseline.p99_ms:.1f} ms; {allowed_ms:.1f} ms are allowed"
    )


def _agreement(comparison: Comparison, rules: BreachRules) -> str | None:
    if rules.min_agreement is None or comparison.compared_rows < rules.min_requests:
        return None
    high = upper_bound(comparison.agreeing_rows, comparison.compared_rows)
    if high >= rules.min_agreement:
        return None
    return (
        f"agrees with {comparison.baseline} on {comparison.agreeing_rows} of "
        f"{comparison.compared_rows} rows (at most {high:.1%} with {_CONFIDENCE:.0%} confidence); "
        f"{rules.min_agreement:.1%} are asked for"
    )


def lower_bound(count: int, total: int) -> float:
    """Clopper-Pearson lower confidence bound of a share.

    Source: Clopper and Pearson, Biometrika 26 (1934).
    """
    from scipy.special import betaincinv

    if count == 0:
        return 0.0
    return float(betaincinv(count, total - count + 1, 1.0 - _CONFIDENCE))


def upper_bound(count: int, total: int) -> float:
    """Clopper-Pearson upper confidence bound of a share."""
    from scipy.special import betaincinv

    if count == total:
        return 1.0
    return float(betaincinv(count + 1, total - count, _CONFIDENCE))
