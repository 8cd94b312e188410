"""What each setting costs and is good for: every objective, as far as it was measured."""

from __future__ import annotations

import math

from raymi.sweep.decision.case import Case
from raymi.sweep.decision.memory import peak_memory_gib
from raymi.sweep.decision.speed import Speeds
from raymi.sweep.decision.target import SamplesToTarget, samples_to_target
from raymi.sweep.setting import Setting
from raymi.sweep.verdicts import Costs

_HOUR_S = 3600.0


def list_costs(case: Case, speeds: Speeds) -> tuple[Costs, ...]:
    """The objectives of every setting, in order."""
    samples = samples_to_target(case)
    return tuple(
        _costs(case, setting, speeds, samples.get(setting.numerics)).model_copy(
            update={"peak_memory_gib": peak_memory_gib(case, setting)}
        )
        for setting in case.settings
    )


def samples_of_run(case: Case, setting: Setting) -> int:
    """Training samples of one whole run."""
    run = case.train_spec(setting)
    samples = run.epochs * case.evidence.num_train_rows
    if run.max_steps is None:
        return samples
    return min(samples, run.max_steps * setting.global_batch_size)


def _costs(case: Case, setting: Setting, speeds: Speeds, target: SamplesToTarget | None) -> Costs:
    samples = samples_of_run(case, setting)
    price = case.evidence.price_per_hour
    speed = speeds.of(setting.index)
    joules = _joules_per_sample(case, setting)
    # Accelerator-seconds of one sample.
    sample_s = None if speed is None else setting.num_workers / speed.median
    run_s = None if sample_s is None else sample_s * samples
    to_target_s = None if sample_s is None or target is None else sample_s * target.num_samples
    return Costs(
        setting=setting.index,
        quality=case.quality(setting.numerics),
        samples_per_s=None if speed is None else speed.median,
        latency_ms=_latency_ms(case, setting),
        accelerator_s=run_s,
        cost_to_target_s=to_target_s,
        is_predicted=to_target_s is not None and target is not None and target.is_predicted,
        energy_j=None if joules is None else joules * samples,
        money=None if run_s is None or price is None else run_s / _HOUR_S * price,
    )


def _joules_per_sample(case: Case, setting: Setting) -> float | None:
    """Over all windows that count and have energy."""
    windows = [
        window
        for window in case.evidence.probe.windows
        if window.setting == setting.index and not window.is_control and window.rejected is None
    ]
    metered = [(window, window.energy_j) for window in windows if window.energy_j is not None]
    num_steps = sum(window.num_steps for window, _ in metered)
    if not num_steps:
        return None
    return math.fsum(joules for _, joules in metered) / (num_steps * setting.global_batch_size)


def _latency_ms(case: Case, setting: Setting) -> float | None:
    """Of one row."""
    found = [one.latency_ms for one in case.latencies_of(setting) if one.num_rows == 1]
    return min(found, default=None)
