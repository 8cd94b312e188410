"""What the decision says: every number that was derived from the evidence, and the words."""

from __future__ import annotations

from enum import StrEnum

from raymi.store.record import Record


class Timing(Record):
    """How fast a setting steps, from its windows."""

    setting: int
    samples_per_s: float
    """Median over windows that count."""

    low: float
    high: float
    """95% interval of the median (order statistics; below six windows Student's t)."""

    of_best: float | None
    """Median over rounds of this / the fastest setting, paired by round; None: no shared round."""

    of_best_low: float | None
    of_best_high: float | None
    num_windows: int
    num_rejected: int


class MemoryModel(Record):
    """Peak memory as `fixed + per_sample * micro-batch`, fitted to one network and precision."""

    numerics: str
    num_workers: int
    fixed_gib: float
    per_sample_gib: float
    max_error: float
    """Largest relative distance of a measured point from the line."""

    largest_micro_batch: dict[str, int]
    """Accelerator -> the largest micro-batch predicted to fit it, with headroom; for `this` too."""


class Outcome(StrEnum):
    """What became of a way to compute, compared with the reference."""

    REFERENCE = "reference"
    NOT_WORSE = "not_worse"
    """Shown: not worse by more than the margin."""

    NOT_SHOWN = "not_shown"
    """Neither shown to be good enough nor to be worse."""

    WORSE = "worse"
    """Shown: worse by more than the margin."""

    TOO_FEW_ROWS = "too_few_rows"
    """The evaluation rows cannot show a difference as small as the margin."""

    TOO_FEW_SEEDS = "too_few_seeds"
    FAILED = "failed"
    """It did not train to the end."""

    NOT_TESTED = "not_tested"
    """It could not have won, or the budget ended."""


class QualityTest(Record):
    """One way to compute against the reference, in pairs of seeds, row by row."""

    numerics: str
    outcome: Outcome
    why: str
    num_seeds: int = 0
    num_rows: int = 0
    rows_needed: int | None = None
    """Evaluation rows with which one that is exactly as good would pass often enough."""

    quality: float | None = None
    """Mean of the metric over its seeds."""

    difference: float | None = None
    """Mean of (candidate - reference), turned so that more is better: points of accuracy, or a
    share of the reference's rmse or loss."""

    lower_bound: float | None = None
    """One-sided, at the confidence of the spec, before correction; None: anything is possible."""

    upper_bound: float | None = None
    p_value: float | None = None
    """Of "worse by the margin or more"."""

    p_adjusted: float | None = None
    """Holm, over the candidates that were compared."""


class Finding(Record):
    """What a way to compute changes besides the average, against the reference."""

    numerics: str
    what: str
    """`ece`, `brier`, or `worst slice: NAME`."""

    reference: float
    candidate: float
    difference: float
    """Candidate - reference; of a slice turned and scaled as in `QualityTest`."""

    low: float
    high: float
    """95% interval of the difference. Of a slice it is for all slices together, and around the
    average difference."""

    is_notable: bool
    """Whether it is more than the average difference and chance explain."""


class Confirmation(Record):
    """The winner once more, on fresh seeds and rows that no decision has seen."""

    numerics: str
    is_confirmed: bool
    why: str
    num_seeds: int = 0
    num_rows: int = 0
    difference: float | None = None
    lower_bound: float | None = None
    upper_bound: float | None = None


class Costs(Record):
    """The objectives of one setting; None: not measured."""

    setting: int
    quality: float | None = None
    samples_per_s: float | None = None
    peak_memory_gib: float | None = None
    latency_ms: float | None = None
    accelerator_s: float | None = None
    """Of one whole run, at the probed speed."""

    cost_to_target_s: float | None = None
    """Accelerator-seconds until the target, at the probed speed."""

    is_predicted: bool = False
    """Whether `cost_to_target_s` follows from the noise scale and another batch's run."""

    energy_j: float | None = None
    money: float | None = None


class Standing(StrEnum):
    """Where a setting ended."""

    WINNER = "winner"
    TIE = "tie"
    """As good as the winner within the noise; the winner is simpler, safer or cheaper."""

    BEATEN = "beaten"
    """Meets the constraints; its objective is worse."""

    INFEASIBLE = "infeasible"
    """Breaks a constraint."""

    REJECTED = "rejected"
    """Not shown to be as good as the reference."""

    FAILED = "failed"
    """Cannot run here."""

    UNKNOWN = "unknown"
    """Not measured enough to say: the budget ended."""


class Verdict(Record):
    """What the decision says about one setting."""

    setting: int
    standing: Standing
    why: str
    """One clause for the table."""

    on_front: bool = False
    """Whether nothing measured is better in one respect and as good in all others."""


class Decision(Record):
    """Who won, and why; the same evidence always gives the same decision."""

    winner: int | None
    ties: tuple[int, ...] = ()
    noise_floor: float | None
    """Relative difference below which two speeds are equal, from the control; None: unknown."""

    timings: tuple[Timing, ...] = ()
    memory_models: tuple[MemoryModel, ...] = ()
    critical_batch_size: float | None = None
    """Of the reference, from the gradient noise scale."""

    tests: tuple[QualityTest, ...] = ()
    findings: tuple[Finding, ...] = ()
    confirmations: tuple[Confirmation, ...] = ()
    """In the order they were tried; a refuted winner made room for the next."""

    costs: tuple[Costs, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    """In setting order."""

    serving_batch_sizes: tuple[int, ...] = ()
    """Batch sizes worth trying when the winner is served, smallest first."""

    sentence: str
    """Why the winner won, or why nobody did."""
