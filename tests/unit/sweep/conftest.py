"""Evidence of made-up sweeps: windows drawn around given speeds, runs of given quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
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
    """The builder; see `Knobs`. Safe under hypothesis."""
    return build_evidence


@dataclass(frozen=True)
class Knobs:
    """What a made-up sweep is like."""

    space: Mapping[str, Any] | None = None
    """Of the SweepSpec; default: fp32 and bf16, each with micro-batches 8 and 32. The reference is
    fp32 with 32."""

    spec: Mapping[str, Any] | None = None
    """Other fields of the SweepSpec, such as `{"objective": "money"}`."""

    train: Mapping[str, Any] | None = None
    """Fields of the reference run, over `_TRAIN`."""

    metric: str = "accuracy"
    """accuracy, rmse or loss."""

    speeds: Mapping[str, float | None] | None = None
    """Setting's label -> samples per second around which its windows are drawn; None: it has no
    window. Those left out: bf16 is 1.5 times as fast as fp32, and larger micro-batches are
    faster."""

    noise: float = 0.01
    """Relative standard deviation of a window."""

    drift: float = 0.0
    """Relative change of all speeds from the first round to the last."""

    rounds: int = 8
    """Windows of each setting, and of the control."""

    watts: Mapping[str, float] | None = None
    """Precision -> power of all workers; None: nothing measures energy."""

    peak_gib: Mapping[str, float] | None = None
    """Setting's label -> device memory in its windows; default: as on a CPU, none."""

    qualities: Qualities | None = None
    """Runs compared on validation rows; None: nothing was trained."""

    confirmations: Qualities | None = None
    """Runs with fresh seeds, compared on test rows."""

    num_seeds: int = 3
    """Runs of numerics whose quality is one number."""

    num_rows: int = 4000
    """Validation rows."""

    num_test_rows: int = 4000
    churn: float = 0.1
    """How differently two runs of equal quality treat the same row."""

    overconfidence: Mapping[str, float] | None = None
    """Numerics -> what is added to each row's confidence."""

    critical_batch_size: float | None = None
    """Of the noise scale of every run; None: not measured."""

    seed: int = 0
    """Of everything random here."""


def build_evidence(**knobs: Any) -> Evidence:
    """Make the evidence of a sweep, from `Knobs`; what is none of them goes over its fields."""
    own = Knobs(**{one.name: knobs.pop(one.name) for one in fields(Knobs) if one.name in knobs})
    sweep = _sweep(own)
    settings, reference = list_settings(sweep)
    rng = np.random.default_rng(own.seed)
    document: dict[str, Any] = {
        "sweep_id": "made-up",
        "spec": sweep.to_document(),
        "spec_fingerprint": sweep.fingerprint(),
        "settings": settings,
        "reference": reference,
        "accelerator": "cpu",
        "price_per_hour": 0.36,
        "price_source": "made up",
        "dataset": _dataset(own),
        "num_train_rows": NUM_TRAIN_ROWS,
        "metric": own.metric,
        "higher_is_better": own.metric == "accuracy",
        "probe": _probe(own, settings, reference, rng),
        "runs": _all_runs(own, settings, rng),
        "slices": Slices(
            names=SLICE_NAMES,
            validation=tuple(row % 4 for row in range(own.num_rows)),
            test=tuple(row % 4 for row in range(own.num_test_rows)) if own.confirmations else (),
        ),
        "started_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Evidence(**(document | knobs))


def _dataset(own: Knobs) -> dict[str, Any]:
    num_rows = {"train": NUM_TRAIN_ROWS, "validation": own.num_rows, "test": own.num_test_rows}
    return {"name": "rows", "fingerprint": "0" * 64, "num_rows": num_rows}


def _probe(
    own: Knobs, settings: Sequence[Setting], reference: int, rng: np.random.Generator
) -> ProbeEvidence:
    return ProbeEvidence(
        memory_limit_gib=8.0,
        memory=_memory(settings),
        windows=_windows(own, settings, reference, rng),
        latencies=_latencies(settings),
        meter=None if own.watts is None else "made up",
    )


def _all_runs(
    own: Knobs, settings: Sequence[Setting], rng: np.random.Generator
) -> tuple[RunEvidence, ...]:
    rows = _Rows(own.metric, rng, own.churn, own.overconfidence or {})
    runs = [
        *_runs(settings, Purpose.QUALITY, own.qualities, own.num_seeds, rows, own.num_rows),
        *_runs(settings, Purpose.CONFIRMATION, own.confirmations, 2, rows, own.num_test_rows),
    ]
    if own.critical_batch_size is not None:
        trace = own.critical_batch_size
        scale = NoiseScale(gradient_square=1.0, noise_trace=trace, num_estimates=100)
        runs = [run.model_copy(update={"noise_scale": scale}) for run in runs]
    return tuple(runs)


_TRAIN = {
    "name": "rows",
    "problem": "jobs.digits.problem",
    "data": "digits",
    "batch": {"global_batch_size": 64, "micro_batch_size": 32},
    "epochs": 2,
}


def _sweep(own: Knobs) -> SweepSpec:
    default = {"precision": ["fp32", "bf16"], "batch.micro_batch_size": [8, 32]}
    document = {
        "kind": "sweep",
        "train": {**_TRAIN, **(own.train or {})},
        "space": dict(own.space or default),
        **(own.spec or {}),
    }
    return SweepSpec.from_document(document)


def _speed(setting: Setting) -> float:
    factor = {"fp32": 1.0, "tf32": 1.2, "bf16": 1.5, "fp16": 1.55, "fp8": 2.0}
    samples = setting.micro_batch_size
    base = 1000.0 * factor.get(setting.precision.value, 1.0)
    return base * setting.num_workers * samples / (samples + 4.0)


def _windows(
    own: Knobs, settings: Sequence[Setting], reference: int, rng: np.random.Generator
) -> tuple[Window, ...]:
    speed = {one.index: (own.speeds or {}).get(one.label, _speed(one)) for one in settings}
    entrants = [(setting, False) for setting in settings] + [(settings[reference], True)]
    windows = []
    for round_ in range(own.rounds):
        pace = 1.0 + own.drift * round_ / max(1, own.rounds - 1)
        for setting, is_control in entrants:
            mean = speed[setting.index]
            if mean is None:
                continue
            num_steps = max(1, round(0.3 * mean / setting.global_batch_size))
            samples = num_steps * setting.global_batch_size
            luck = float(np.exp(own.noise * rng.standard_normal()))
            duration_s = samples / (mean * pace * luck)
            power = (own.watts or {}).get(setting.precision.value)
            windows.append(
                Window(
                    setting=setting.index,
                    is_control=is_control,
                    round=round_,
                    num_steps=num_steps,
                    duration_s=duration_s,
                    energy_j=None if power is None else power * duration_s,
                    peak_gib=(own.peak_gib or {}).get(setting.label),
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
