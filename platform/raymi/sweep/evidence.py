"""Evidence: everything a sweep measured, raw; the decision is a pure function of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field, field_serializer

from raymi.store.record import Record
from raymi.sweep.setting import Setting


class Glance(Record):
    """A first look at one state (a network in one precision): is it worth probing?"""

    setting: int
    """The setting that was looked at, with the smallest micro-batch of its state."""

    micro_batch_size: int
    """Samples of the pass."""

    sample_s: float | None
    """Seconds per sample, forward and backward, of one worker; None: it failed."""

    why: str | None = None
    """How it failed."""


class MemoryPoint(Record):
    """Peak memory of one micro-batch in a fresh process, or that it did not fit."""

    setting: int
    """Whose network, precision and micro-batch."""

    micro_batch_size: int
    """Samples of the pass."""

    peak_gib: float | None
    """Of the process on a CPU, of the device otherwise; None: out of memory."""

    duration_s: float
    """What the measurement took."""


class Window(Record):
    """Some optimizer steps of one setting, timed."""

    setting: int
    """What was timed."""

    is_control: bool = False
    """Whether this was the reference's identical twin, which only measures noise."""

    round: int
    """Windows of one round were taken right after each other, in random order."""

    num_steps: int
    """Whole optimizer steps."""

    duration_s: float
    """Of all of them."""

    rejected: str | None = None
    """Why it does not count: what disturbed the machine; None if it does."""

    energy_j: float | None = None
    """Of all workers; None where nothing measures it."""

    peak_gib: float | None = None
    """Device memory at its highest; None on a CPU, where windows of one process look alike."""


class Latency(Record):
    """One forward pass without gradients, as in serving."""

    setting: int
    """Whose network and precision."""

    num_rows: int
    """Rows of the pass."""

    latency_ms: float
    """Median over repeats."""


class ProbeEvidence(Record):
    """What was measured before anything was trained."""

    glances: tuple[Glance, ...] = ()
    memory_limit_gib: float | None = None
    """What a worker may use, headroom already taken off; None: not known."""

    memory: tuple[MemoryPoint, ...] = ()
    windows: tuple[Window, ...] = ()
    latencies: tuple[Latency, ...] = ()
    failures: dict[int, str] = Field(default={})
    """Setting -> how it failed while it was probed."""

    given_up: dict[int, str] = Field(default={})
    """Setting -> how slow it was at the first glance; it was not probed further."""

    meter: str | None = None
    """Where energy comes from; None: nowhere."""


class RowScores(Record):
    """What a model got right and wrong, row by row, in the order of the split."""

    score: tuple[float, ...]
    """Classification: 1 or 0. Regression: squared error in the target's own unit. Text: loss in
    nats, summed over the row's bytes."""

    count: tuple[float, ...] | None = None
    """Text: bytes of each row; None: every row counts once."""

    confidence: tuple[float, ...] | None = None
    """Classification: highest probability."""

    brier: tuple[float, ...] | None = None
    """Classification: sum over classes of (probability - truth) squared."""

    @field_serializer("score", "count", when_used="json-unless-none")
    def _without_fractions(self, values: tuple[float, ...]) -> list[float | int]:
        """Rights, wrongs and bytes are whole: a point and a zero for each would double a file."""
        are_whole = all(value.is_integer() for value in values)
        return [int(value) for value in values] if are_whole else list(values)


class Purpose(StrEnum):
    """What a run was for."""

    QUALITY = "quality"
    """Compared on the validation rows."""

    CONFIRMATION = "confirmation"
    """Fresh seed, compared on the test rows."""


class RunStatus(StrEnum):
    """Ray's own words."""

    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class CurvePoint(Record):
    """The validation metric during a run."""

    num_samples: int
    """Training samples seen so far."""

    value: float
    """The primary metric."""


class NoiseScale(Record):
    """Gradient noise scale (McCandlish et al., arXiv 1812.06162), averaged over a run."""

    gradient_square: float
    """|G|^2, of the true gradient."""

    noise_trace: float
    """tr(S), of the covariance of one sample's gradient."""

    num_estimates: int

    @property
    def critical_batch_size(self) -> float | None:
        """B_simple = tr(S) / |G|^2; None where noise hides the gradient."""
        if self.gradient_square <= 0.0 or self.noise_trace <= 0.0:
            return None
        return self.noise_trace / self.gradient_square


class RunEvidence(Record):
    """One training run."""

    run_id: str
    setting: int
    """How it was cut; it speaks for every setting of the same numerics."""

    numerics: str
    seed: int
    purpose: Purpose
    status: RunStatus
    reason: str | None = None
    """Why it did not succeed."""

    metric: float | None = None
    """The primary metric on the validation rows."""

    curve: tuple[CurvePoint, ...] = ()
    num_samples: int = 0
    """Training samples seen."""

    samples_per_s: float | None = None
    """As trained, with data, possibly beside other runs."""

    accelerator_s: float = 0.0
    """Workers times the seconds that they were held."""

    energy_j: float | None = None
    noise_scale: NoiseScale | None = None
    validation: RowScores | None = None
    test: RowScores | None = None
    """Only for confirmation."""


class Slices(Record):
    """Groups of rows: by class, by quarter of the target, or by place in a text."""

    names: tuple[str, ...] = ()
    validation: tuple[int, ...] = ()
    """Index into `names` for each validation row."""

    test: tuple[int, ...] = ()


UNPAID = "unpaid"
"""No limit was reached, but what was left did not pay for the next run."""


class Spending(Record):
    """What was spent on what, and what was allowed."""

    probe_s: float = 0.0
    """Accelerator-seconds."""

    quality_s: float = 0.0
    confirmation_s: float = 0.0
    wall_clock_s: float = 0.0
    by_precision_s: dict[str, float] = Field(default={})
    """Precision -> accelerator-seconds, start-up of shared workers not included."""

    stopped_by: str | None = None
    """The limit that ended the sweep early, or `UNPAID`."""

    @property
    def why_cut_short(self) -> str | None:
        """A clause about what ended the sweep early; None: nothing did."""
        if self.stopped_by == UNPAID:
            return "what was left of the budget did not pay for more"
        return None if self.stopped_by is None else f"{self.stopped_by} was used up"

    @property
    def accelerator_s(self) -> float:
        """All accelerator-seconds."""
        return self.probe_s + self.quality_s + self.confirmation_s


class Evidence(Record):
    """Everything a sweep measured."""

    sweep_id: str
    spec: dict[str, Any]
    """The resolved SweepSpec, its data pinned to a version."""

    spec_fingerprint: str
    settings: tuple[Setting, ...]
    reference: int
    """Index of the setting that others may not be worse than."""

    accelerator: str
    price_per_hour: float | None = None
    """Of one worker; None: unknown."""

    price_source: str | None = None

    dataset: dict[str, Any]
    """Name, fingerprint, rows per split."""

    num_train_rows: int
    metric: str
    higher_is_better: bool
    refused: dict[int, str] = Field(default={})
    """Setting -> why it cannot run here; known before anything started."""

    probe: ProbeEvidence = ProbeEvidence()
    finalists: tuple[str, ...] = ()
    """Numerics that were to be compared with the reference, the most promising first; named
    before any of them was compared, so that all count in Holm's correction."""

    runs: tuple[RunEvidence, ...] = ()
    slices: Slices = Slices()
    spending: Spending = Spending()
    environment: dict[str, str] = Field(default={})
    hardware: dict[str, Any] = Field(default={})
    git_commit: str | None = None
    started_at: datetime
    """UTC."""
