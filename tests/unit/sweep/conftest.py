"""Evidence of made-up sweeps: windows drawn around given speeds, runs of given quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np
import pytest

from raymi.specs.sweep import SweepSpec
from raymi.sweep.evidence import (
    CurvePoint,
    Evidence,
    Latency,
    MemoryPoint,
    NoiseScale,
    ProbeEvidence,
    Purpose,
    RowScores,
    RunEvidence,
    RunStatus,
    Slices,
    Window,
)
from raymi.sweep.setting import Setting, list_settings

NUM_TRAIN_ROWS = 4096
FRESH_SEED = 1000
SLICE_NAMES = ("class 0", "class 1", "class 2", "class 3")
Qualities = Mapping[str, float | Sequence[float | None]]
"""Numerics -> quality of its runs: one number for all seeds, or one each; None: it diverged."""


class MakeEvidence(Protocol):
    """The type of `make_evidence`."""

    def __call__(self, **knobs: Any) -> Evidence: ...


@pytest.fixture(scope="session")
def make_evidence() -> MakeEvidence:
    """The builder; see `build_evidence` for its knobs. Safe under hypothesis."""
    return build_evidence


def build_evidence(
    *,
    space: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    metric: str = "accuracy",
    speeds: Mapping[str, float | None] | None = None,
    noise: float = 0.01,
    drift: float = 0.0,
    rounds: int = 8,
    watts: Mapping[str, float] | None = None,
    peak_gib: Mapping[str, float] | None = None,
    qualities: Qualities | None = None,
    confirmations: Qualities | None = None,
    num_seeds: int = 3,
    num_rows: int = 4000,
    num_test_rows: int = 4000,
    churn: float = 0.1,
    overconfidence: Mapping[str, float] | None = None,
    critical_batch_size: float | None = None,
    seed: int = 0,
    **fields: Any,
) -> Evidence:
    """Make the evidence of a sweep.

    Args:
        space: Of the SweepSpec; default: fp32 and bf16, each with micro-batches 8 and 32. The
            reference is fp32 with 32.
        spec: Other fields of the SweepSpec, such as `{"objective": "money"}`.
        train: Fields of the reference run, over `_TRAIN`.
        metric: accuracy, rmse or loss.
        speeds: Setting's label -> samples per second around which its windows are drawn; None:
            it has no window. Those left out: bf16 is 1.5 times as fast as fp32, and larger
            micro-batches are faster.
        noise: Relative standard deviation of a window.
        drift: Relative change of all speeds from the first round to the last.
        rounds: Windows of each setting, and of the control.
        watts: Precision -> power of all workers; None: nothing measures energy.
        peak_gib: Setting's label -> device memory in its windows; default: as on a CPU, none.
        qualities: Runs compared on validation rows; None: nothing was trained.
        confirmations: Runs with fresh seeds, compared on test rows.
        num_seeds: Runs of numerics whose quality is one number.
        num_rows: Validation rows.
        num_test_rows: Test rows.
        churn: How differently two runs of equal quality treat the same row.
        overconfidence: Numerics -> what is added to each row's confidence.
        critical_batch_size: Of the noise scale of every run; None: not measured.
        seed: Of everything random here.
        **fields: Of Evidence, over what was made.
    """
    sweep = _sweep(space, spec, train)
    settings, reference = list_settings(sweep)
    rng = np.random.default_rng(seed)
    speed = {one.index: (speeds or {}).get(one.label, _speed(one)) for one in settings}
    probe = ProbeEvidence(
        memory_limit_gib=8.0,
        memory=_memory(settings),
        windows=_windows(
            settings, reference, speed, rng, noise=noise, drift=drift, rounds=rounds,
            watts=watts, peak_gib=peak_gib,
        ),
        latencies=_latencies(settings),
        meter=None if watts is None else "made up",
    )  # fmt: skip
    rows = _Rows(metric, rng, churn, overconfidence or {})
    runs = [
        *_runs(settings, Purpose.QUALITY, qualities, num_seeds, rows, num_rows),
        *_runs(settings, Purpose.CONFIRMATION, confirmations, 2, rows, num_test_rows),
    ]
    if critical_batch_size is not None:
        scale = NoiseScale(gradient_square=1.0, noise_trace=critical_batch_size, num_estimates=100)
        runs = [run.model_copy(update={"noise_scale": scale}) for run in runs]
    document: dict[str, Any] = {
        "sweep_id": "made-up",
        "spec": sweep.to_document(),
        "spec_fingerprint": sweep.fingerprint(),
        "settings": settings,
        "reference": reference,
        "accelerator": "cpu",
        "price_per_hour": 0.36,
        "price_source": "made up",
        "dataset": {
            "name": "rows",
            "fingerprint": "0" * 64,
            "num_rows": {"train": NUM_TRAIN_ROWS, "validation": num_rows, "test": num_test_rows},
        },
        "num_train_rows": NUM_TRAIN_ROWS,
        "metric": metric,
        "higher_is_better": metric == "accuracy",
        "probe": probe,
        "runs": tuple(runs),
        "slices": Slices(
            names=SLICE_NAMES,
            validation=tuple(row % 4 for row in range(num_rows)),
            test=tuple(row % 4 for row in range(num_test_rows)) if confirmations else (),
        ),
        "started_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Evidence(**(document | fields))


_TRAIN = {
    "name": "rows",
    "problem": "jobs.digits.problem",
    "data": "digits",
    "batch": {"global_batch_size": 64, "micro_batch_size": 32},
    "epochs": 2,
}


def _sweep(
    space: Mapping[str, Any] | None,
    spec: Mapping[str, Any] | None,
    train: Mapping[str, Any] | None,
) -> SweepSpec:
    default = {"precision": ["fp32", "bf16"], "batch.micro_batch_size": [8, 32]}
    document = {
        "kind": "sweep",
        "train": {**_TRAIN, **(train or {})},
        "space": dict(space or default),
        **(spec or {}),
    }
    return SweepSpec.from_document(document)


def _speed(setting: Setting) -> float:
    factor = {"fp32": 1.0, "tf32": 1.2, "bf16": 1.5, "fp16": 1.55, "fp8": 2.0}
    samples = setting.micro_batch_size
    base = 1000.0 * factor.get(setting.precision.value, 1.0)
    return base * setting.num_workers * samples / (samples + 4.0)


def _windows(
    settings: Sequence[Setting],
    reference: int,
    speed: Mapping[int, float | None],
    rng: np.random.Generator,
    *,
    noise: float,
    drift: float,
    rounds: int,
    watts: Mapping[str, float] | None,
    peak_gib: Mapping[str, float] | None,
) -> tuple[Window, ...]:
    windows = []
    for round_ in range(rounds):
        pace = 1.0 + drift * round_ / max(1, rounds - 1)
        entrants = [(setting, False) for setting in settings] + [(settings[reference], True)]
        for setting, is_control in entrants:
            mean = speed[setting.index]
            if mean is None:
                continue
            num_steps = max(1, round(0.3 * mean / setting.global_batch_size))
            samples = num_steps * setting.global_batch_size
            duration_s = samples / (mean * pace * float(np.exp(noise * rng.standard_normal())))
            power = None if watts is None else watts.get(setting.precision.value)
            windows.append(
                Window(
                    setting=setting.index,
                    is_control=is_control,
                    round=round_,
                    num_steps=num_steps,
                    duration_s=duration_s,
                    energy_j=None if power is None else power * duration_s,
                    peak_gib=None if peak_gib is None else peak_gib.get(setting.label),
                )
            )
    return tuple(windows)


def _memory(settings: Sequence[Setting]) -> tuple[MemoryPoint, ...]:
    """0.5 GiB and 10 MiB per sample; half of it in 16 bits."""
    return tuple(
        MemoryPoint(
            setting=setting.index,
            micro_batch_size=setting.micro_batch_size,
            peak_gib=(0.5 + setting.micro_batch_size / 100.0)
            * (0.5 if "16" in setting.precision.value else 1.0),
            duration_s=1.0,
        )
        for setting in settings
    )


def _latencies(settings: Sequence[Setting]) -> tuple[Latency, ...]:
    """2 ms and 0.1 ms per row, of one setting of each numerics."""
    first = {setting.numerics: setting for setting in reversed(settings)}
    return tuple(
        Latency(setting=setting.index, num_rows=rows, latency_ms=2.0 + 0.1 * rows)
        for setting in first.values()
        for rows in (1, 2, 4, 8, 16, 32, 64, 128)
    )


class _Rows:
    """Rows that are right or wrong, or off by more or less, so that the metric is exact."""

    def __init__(
        self,
        metric: str,
        rng: np.random.Generator,
        churn: float,
        overconfidence: Mapping[str, float],
    ) -> None:
        self.metric = metric
        self._rng = rng
        self._churn = churn
        self._overconfidence = overconfidence
        self._difficulty: dict[int, np.ndarray] = {}

    def scores(self, numerics: str, quality: float, num_rows: int) -> RowScores:
        """Row scores whose mean is the quality; rows are as hard for one run as for another."""
        if num_rows not in self._difficulty:
            self._difficulty[num_rows] = self._rng.random(num_rows)
        hard = self._difficulty[num_rows] + self._churn * self._rng.standard_normal(num_rows)
        if self.metric != "accuracy":
            return self._amounts(np.exp(hard), quality)
        correct = np.zeros(num_rows)
        correct[np.argsort(hard)[: round(quality * num_rows)]] = 1.0
        shift = self._overconfidence.get(numerics, 0.0)
        confidence = np.clip(self._rng.normal(quality + shift, 0.05, num_rows), 0.3, 1.0)
        brier = np.where(correct == 1.0, (1 - confidence) ** 2, confidence**2) * 1.1
        return RowScores(
            score=tuple(correct.tolist()),
            confidence=tuple(confidence.round(6).tolist()),
            brier=tuple(brier.round(6).tolist()),
        )

    def _amounts(self, amounts: np.ndarray, quality: float) -> RowScores:
        if self.metric == "rmse":
            return RowScores(score=tuple((amounts * quality**2 / amounts.mean()).tolist()))
        count = self._rng.integers(50, 150, len(amounts)).astype(float)
        scale = quality * count.sum() / (amounts @ count)
        return RowScores(score=tuple((amounts * count * scale).tolist()), count=tuple(count))


def _runs(
    settings: Sequence[Setting],
    purpose: Purpose,
    qualities: Qualities | None,
    num_seeds: int,
    rows: _Rows,
    num_rows: int,
) -> list[RunEvidence]:
    is_confirmation = purpose is Purpose.CONFIRMATION
    runs = []
    for numerics, given in (qualities or {}).items():
        of_seed = [given] * num_seeds if isinstance(given, int | float) else given
        setting = max((s for s in settings if s.numerics == numerics), key=lambda s: s.index)
        for number, quality in enumerate(of_seed):
            has_ended = quality is not None
            scores = rows.scores(numerics, quality, num_rows) if has_ended else None
            runs.append(
                RunEvidence(
                    run_id=f"s{setting.index:02d}-{purpose.value[0]}{number}",
                    setting=setting.index,
                    numerics=numerics,
                    seed=number + (FRESH_SEED if is_confirmation else 0),
                    purpose=purpose,
                    status=RunStatus.SUCCEEDED if has_ended else RunStatus.FAILED,
                    reason=None if has_ended else "diverged",
                    metric=quality,
                    curve=_curve(quality, rises=rows.metric == "accuracy") if has_ended else (),
                    num_samples=2 * NUM_TRAIN_ROWS if has_ended else NUM_TRAIN_ROWS,
                    accelerator_s=10.0,
                    validation=None if is_confirmation else scores,
                    test=scores if is_confirmation else None,
                )
            )
    return runs


def _curve(quality: float, *, rises: bool) -> tuple[CurvePoint, ...]:
    """Four points on a straight line that ends at the quality, from the worse side."""
    step = 0.1 if rises else -0.1
    return tuple(
        CurvePoint(
            num_samples=NUM_TRAIN_ROWS * number // 2, value=quality * (1.0 - step * (4 - number))
        )
        for number in range(1, 5)
    )
