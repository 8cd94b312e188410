"""A tuning whose evidence is made up, so that what should be decided is known."""

from datetime import UTC, datetime

import numpy as np
import pytest

from raymi.serve.tuning.evidence import Evidence, Forecast, LoadRun, Outputs, PassTime
from raymi.serve.tuning.ways import Candidate, Way
from raymi.specs.tune_serving import TuneServingSpec

WAYS = (
    Way(backend="eager", precision="fp32"),
    Way(backend="onnx", precision="fp32"),
    Way(backend="onnx", precision="int8"),
)


def outputs(way, *, num_rows=2000, flipped=0, difference=0.0, labels_differ=0):
    """The reference is right on all rows but the last tenth; some answers become wrong."""
    scores = np.ones(num_rows)
    scores[-num_rows // 10 :] = 0.0
    scores[:flipped] = 0.0
    return Outputs(
        way=way,
        num_rows=num_rows,
        max_abs_difference=difference,
        labels_differ=labels_differ,
        scores=tuple(scores.tolist()),
    )


def load(candidate, *, p99_ms, number=0, num_requests=4000, failed=0):
    """Independent times, one in a hundred above the p99."""
    draw = np.random.default_rng([candidate, number])
    times = draw.exponential(size=num_requests) * p99_ms / -np.log(0.01)
    return LoadRun(
        candidate=candidate,
        round=number,
        latencies_ms=tuple(times.tolist()),
        num_failed=failed,
        duration_s=20.0,
        ready_s=5.0,
    )


@pytest.fixture
def evidence():
    """Three ways, one configuration of each at one price, and one of the first at twice that."""

    def make(*, p99_ms=10.0, gate=None, **changes):
        spec = TuneServingSpec.from_document(
            {
                "kind": "tune_serving",
                "model": "digits@1",
                "objective": {"p99_ms": p99_ms, "rate_per_s": 200.0},
                "measurement": {"repeats": 2, "finalists": 2},
                "gate": gate or {"margin": 0.02},
            }
        )
        candidates = [
            Candidate(way=way, max_batch_size=8, max_wait_ms=0.0, num_replicas=n, num_cpus=n)
            for way, n in ((0, 1), (1, 1), (2, 1), (0, 2))
        ]
        given = {
            "tuning_id": "digits-1",
            "spec": spec.to_document(),
            "spec_fingerprint": spec.fingerprint(),
            "model": "digits@1",
            "bundle": "ab",
            "metric": "accuracy",
            "accelerator": "cpu",
            "hardware": {},
            "environment": {},
            "dataset": "2,000 test rows of digits",
            "has_test_rows": True,
            "free_cpus": 2.0,
            "accelerators_per_replica": 0.0,
            "free_accelerators": None,
            "ways": WAYS,
            "candidates": tuple(candidates),
            "passes": tuple(
                PassTime(way=way, num_rows=n, round=0, pass_s=0.001)
                for way in range(3)
                for n in (1, 8)
            ),
            "forecasts": tuple(
                Forecast(candidate=i, rows_per_s=8000.0, p99_ms=1.0) for i in range(4)
            ),
            "outputs": tuple(outputs(way) for way in range(3)),
            "started_at": datetime(2026, 1, 1, tzinfo=UTC),
        }
        return Evidence(**{**given, **changes})

    return make
