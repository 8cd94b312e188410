"""Metrics and their uncertainty, as pure functions of predictions and targets."""

from __future__ import annotations

import math

import numpy as np

NUM_CALIBRATION_BINS = 15
"""Bins of the expected calibration error, as in Guo et al., arXiv 1706.04599."""

NUM_RESAMPLES = 1000
"""Bootstrap resamples; enough for two digits of a 95% interval."""

_Z_95 = 1.959963984540054
"""97.5% quantile of the standard normal distribution."""


def accuracy(predicted: np.ndarray, targets: np.ndarray) -> float:
    """Share of rows (N,) whose predicted class index is the target's."""
    return float(np.mean(predicted == targets))


def negative_log_likelihood(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean of -log p(target) in nats; `probabilities` (N, C), `targets` (N,) class indices.

    Probabilities are kept one machine epsilon away from 0 and 1, so one certain mistake costs
    a lot but not everything.
    """
    epsilon = np.finfo(probabilities.dtype).eps
    chosen = probabilities[np.arange(len(targets)), targets]
    return float(-np.mean(np.log(np.clip(chosen, epsilon, 1.0 - epsilon), dtype=np.float64)))


def expected_calibration_error(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean distance between confidence and accuracy over equal-width bins of confidence.

    Confidence is the highest of a row's `probabilities` (N, C). Bins are closed on the right.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == targets
    edges = np.linspace(0.0, 1.0, NUM_CALIBRATION_BINS + 1)[1:-1]
    bins = np.digitize(confidence, edges, right=True)
    surplus = np.bincount(bins, weights=confidence - correct, minlength=NUM_CALIBRATION_BINS)
    return float(np.abs(surplus).sum() / len(targets))


def macro_f1(predicted: np.ndarray, targets: np.ndarray) -> float:
    """Mean F1 over the classes that occur among targets or predictions."""
    _, joint = np.unique(np.concatenate([predicted, targets]), return_inverse=True)
    guesses, truths = joint[: len(predicted)], joint[len(predicted) :]
    size = int(joint.max()) + 1
    hits = np.bincount(truths[guesses == truths], minlength=size)
    mentions = np.bincount(guesses, minlength=size) + np.bincount(truths, minlength=size)
    return float(np.mean(2.0 * hits / mentions))


def recall_by_class(
    predicted: np.ndarray, targets: np.ndarray, num_classes: int
) -> list[tuple[int, float | None]]:
    """For each class: rows that have it, and the share of them found; None without rows."""
    counts = np.bincount(targets, minlength=num_classes)
    hits = np.bincount(targets[predicted == targets], minlength=num_classes)
    return [
        (int(count), float(hit / count) if count else None)
        for count, hit in zip(counts, hits, strict=True)
    ]


def rmse(predicted: np.ndarray, targets: np.ndarray) -> float:
    """Root of the mean squared error."""
    return math.sqrt(np.mean(np.square(predicted - targets)))


def mae(predicted: np.ndarray, targets: np.ndarray) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(predicted - targets)))


def r2(predicted: np.ndarray, targets: np.ndarray) -> float:
    """Share of the targets' variance that is explained; for constant targets, 1 or 0."""
    residual = float(np.sum(np.square(targets - predicted)))
    total = float(np.sum(np.square(targets - np.mean(targets))))
    if total == 0.0:
        return 1.0 if residual == 0.0 else 0.0
    return 1.0 - residual / total


def wilson_interval(num_correct: int, num_rows: int) -> tuple[float, float]:
    """95% score interval of a proportion.

    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209. Unlike the normal interval it is never
    empty and never leaves [0, 1], also for a perfect score on few rows.
    """
    share, z2 = num_correct / num_rows, _Z_95**2
    scale = 1.0 + z2 / num_rows
    centre = (share + z2 / (2 * num_rows)) / scale
    spread = share * (1.0 - share) / num_rows + z2 / (4 * num_rows**2)
    half = _Z_95 * math.sqrt(spread) / scale
    low = 0.0 if num_correct == 0 else centre - half
    high = 1.0 if num_correct == num_rows else centre + half
    return low, high


def bootstrap_rmse_interval(
    predicted: np.ndarray, targets: np.ndarray, *, seed: int = 0
) -> tuple[float, float]:
    """95% percentile interval of the rmse over resampled rows; the same for the same seed."""
    squares = np.square(predicted - targets)
    low, high = bootstrap_ratio_interval(squares, np.ones(len(squares)), seed=seed)
    return math.sqrt(low), math.sqrt(high)


def bootstrap_ratio_interval(
    sums: np.ndarray, counts: np.ndarray, *, seed: int = 0
) -> tuple[float, float]:
    """95% percentile interval of sum(sums) / sum(counts) over resampled rows.

    Args:
        sums: Of each row, (N,).
        counts: What it is the sum of, (N,). Rows are drawn whole: bytes of one text, say, are
            not independent of each other.
        seed: The same interval for the same seed.
    """
    generator = np.random.default_rng(seed)
    ratios = []
    for _ in range(NUM_RESAMPLES):
        drawn = np.bincount(generator.integers(len(sums), size=len(sums)), minlength=len(sums))
        if total := drawn @ counts:
            ratios.append(drawn @ sums / total)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)
