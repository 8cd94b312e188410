"""Does an exported model answer as the registered one does? Measured, then judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raymi.data.preprocessing import NumberTarget
from raymi.evaluate.predictor import Predictions
from raymi.specs.backend import ServingPrecision
from raymi.specs.precision import Precision
from raymi.store.record import Record


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What counts as the same answer."""

    difference: float
    """Of any probability, or of a predicted number in standard deviations of the target."""

    labels: float
    """Share of rows whose most probable class may be another one."""


TOLERANCES = {
    ServingPrecision.FP32: Tolerance(difference=1e-4, labels=0.0),
    ServingPrecision.INT8: Tolerance(difference=0.1, labels=0.02),
}
"""fp32 adds the same numbers in another order; int8 approximates, and has to do it well."""


_TIE = 2 * TOLERANCES[ServingPrecision.FP32].difference
"""Two classes this close may change places when the same numbers are added in another order."""


class Difference(Record):
    """Two sets of answers to the same rows."""

    reference: Precision
    """Arithmetic of Raymi's own predictor, with which the exported model is compared."""

    max_abs_difference: float
    """Of any probability; of numbers, in standard deviations of the target."""

    labels_differ: int | None
    """Rows whose most probable class differs, but for ties; None: the model predicts a number."""


class ExportParity(Record):
    """`parity.json`: what was compared, how much it differed and what was concluded."""

    model: str
    """The registered version, such as `digits@3`."""

    bundle: str
    """Its fingerprint."""

    precision: ServingPrecision
    """Arithmetic of the exported model."""

    num_rows: int
    """Rows that both sides predicted."""

    num_test_rows: int
    """Those that are from the test split; the rest is made up."""

    exact: Difference
    """From the registered network in fp32. This is what is judged."""

    as_evaluated: Difference
    """From the registered network in the arithmetic that it was evaluated with."""

    tolerance: float
    """Largest difference allowed."""

    labels_tolerance: float
    """Largest share of rows allowed whose class differs."""

    passed: bool
    """Whether both were kept."""

    sentence: str
    """The same for people."""

    versions: dict[str, str]
    """What it was measured with."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a difference is small enough."""

    passed: bool
    sentence: str


def compare(reference: Precision, expected: Predictions, found: Predictions) -> Difference:
    """Measure the difference between answers to the same rows."""
    difference = np.abs(found.outputs.astype(np.float64) - expected.outputs).max()
    if isinstance(expected.target, NumberTarget):
        return Difference(
            reference=reference,
            max_abs_difference=float(difference / expected.target.std),
            labels_differ=None,
        )
    return Difference(
        reference=reference,
        max_abs_difference=float(difference),
        labels_differ=int(_other_labels(expected, found).sum()),
    )


def judge(difference: Difference, precision: ServingPrecision, num_rows: int) -> Verdict:
    """Keep to the tolerances of a precision, or say which was broken."""
    tolerance = TOLERANCES[precision]
    unit = "standard deviations" if difference.labels_differ is None else "probability"
    found = (
        f"{num_rows} rows differ by at most {difference.max_abs_difference:.2g} ({unit}; "
        f"allowed {tolerance.difference:g})"
    )
    is_close = difference.max_abs_difference <= tolerance.difference
    if difference.labels_differ is None:
        return Verdict(is_close, found)
    allowed = int(tolerance.labels * num_rows)
    found += f", {difference.labels_differ} have another label (allowed {allowed})"
    return Verdict(is_close and difference.labels_differ <= allowed, found)


def _other_labels(expected: Predictions, found: Predictions) -> np.ndarray:
    """For each row whether its most probable class differs, and the reference has no tie there."""
    rows = np.arange(expected.num_rows)
    probabilities = expected.probabilities
    lead = probabilities[rows, expected.indices] - probabilities[rows, found.indices]
    other: np.ndarray = (found.indices != expected.indices) & (lead > _TIE)
    return other
