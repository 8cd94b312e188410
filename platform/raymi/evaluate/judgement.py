"""From predictions and targets to metrics, an interval and slices: no model, no files."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from raymi.data.encoding import value_text
from raymi.data.preprocessing import ClassTarget, NumberTarget
from raymi.errors import DataError
from raymi.evaluate import metrics
from raymi.evaluate.result import Interval, Slice

NUM_TARGET_SLICES = 4
"""Regression is reported per quarter of the targets, from the smallest to the largest."""

NUM_PLACE_SLICES = 4
"""A text is reported per quarter of its rows, in order: style and topic change along it."""


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


def judge_texts(losses: np.ndarray, num_correct: np.ndarray, num_bytes: np.ndarray) -> Judgement:
    """Judge texts by how well each byte was foreseen.

    Args:
        losses: Sum over each text of -log p(byte) in nats, (N,).
        num_correct: Bytes of each text that were the most probable ones, (N,).
        num_bytes: Bytes of each text that were to be foreseen, (N,).

    Raises:
        DataError: There are none in any text.
    """
    if not num_bytes.sum():
        raise DataError(
            "no test row has a byte to foresee",
            why="every test row is a single byte or empty",
            fix="import the text again with a `window` above 1",
        )
    loss = float(losses.sum() / num_bytes.sum())
    low, high = metrics.bootstrap_ratio_interval(losses, num_bytes)
    return Judgement(
        metrics={
            "loss": loss,
            "bits_per_byte": loss / math.log(2.0),
            "accuracy": float(num_correct.sum() / num_bytes.sum()),
        },
        interval=Interval(low=low, high=high, method="bootstrap"),
        slices=tuple(
            Slice(
                name=f"rows {rows[0]} to {rows[-1]}",
                metric="loss",
                value=float(losses[rows].sum() / total)
                if (total := num_bytes[rows].sum())
                else None,
                num_rows=len(rows),
            )
            for rows in np.array_split(np.arange(len(losses)), NUM_PLACE_SLICES)
            if len(rows)
        ),
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
