"""Outcome: what rank 0 measured, written when a run has finished."""

from __future__ import annotations

from raymi.store.record import Record

OUTCOME_FILE = "outcome.json"
MODEL_FILE = "model.safetensors"
"""The final weights, beside it."""


class Outcome(Record):
    """The measured part of a TrainResult."""

    metrics: dict[str, float]
    """On the validation rows, after the last step."""

    samples_per_s: float
    """Of the last attempt, warm-up excluded."""

    peak_memory_gib: float
    """Of the largest worker."""

    duration_s: float
    """Seconds of training that led to the final weights, all attempts."""

    num_steps: int
    """Optimizer steps."""

    measured_tflops: float | None = None
    """What a worker reached in a large matrix product; only for devices nobody has measured."""
