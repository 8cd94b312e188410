"""From predictions and targets to metrics, an interval and slices: no model, no files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raymi.data.encoding import value_text
from raymi.data.preprocessing import ClassTarget, NumberTarget
from raymi.evaluate import metrics
from raymi.evaluate.result import Interval, Slice

NUM_TARGET_SLICES = 4
"""Regression is reported per quarter of the targets, from the smallest to the largest."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The measured part of an Evaluation."""

    metrics: dict[str, float]
    interval: Interval
    slices: tuple[Slice, ...]


def judge_classes(probabilities: np.ndarray, targets: np.ndarray, about: ClassTarget) -> Judgement:
    """Judge probabilities (N, C) against class indices (N,)."""
    predicted = probabilities.argmax(axis=1)
    num_correct = int(np.sum(predicted == targets))
    low, high = metrics.wilson_interval(num_correct, len(targets))
    recalls = metrics.recall_by_class(predicted, targets, len(about.classes))
    return Judgement(
        metrics={
            "accuracy": metrics.accuracy(predicted, targets),
            "loss": metrics.negative_log_likelihood(probabilities, targets),
            "ece": metrics.expected_calibration_error(probabilities, targets),
            "macro_f1": metrics.macro_f1(predicted, targets),
        },
        interval=Interval(low=low, high=high, method="wilson"),
        slices=tuple(
            Slice(
                name=f"{about.column}={value_text(label)}",
                metric="recall",
                value=value,
                num_rows=num_rows,
            )
            for label, (num_rows, value) in zip(about.classes, recalls, strict=True)
        ),
    )


def judge_numbers(predicted: np.ndarray, targets: np.ndarray, about: NumberTarget) -> Judgement:
    """Judge predicted numbers (N,) against the true ones, both in the target's own unit."""
    low, high = metrics.bootstrap_rmse_interval(predicted, targets)
    return Judgement(
        metrics={
            "rmse": metrics.rmse(predicted, targets),
            "mae": metrics.mae(predicted, targets),
            "r2": metrics.r2(predicted, targets),
        },
        interval=Interval(low=low, high=high, method="bootstrap"),
        slices=_quarters(predicted, targets, about.column),
    )


def _quarters(predicted: np.ndarray, targets: np.ndarray, column: str) -> tuple[Slice, ...]:
    parts = np.array_split(np.argsort(targets, kind="stable"), NUM_TARGET_SLICES)
    return tuple(
        Slice(
            name=f"{column} {targets[rows[0]]:g} to {targets[rows[-1]]:g}",
            metric="rmse",
            value=metrics.rmse(predicted[rows], targets[rows]),
            num_rows=len(rows),
        )
        for rows in parts
        if len(rows)
    )
