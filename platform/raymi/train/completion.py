"""The end of a run that ended well: its result, its telemetry and its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raymi.accelerators.catalog import find
from raymi.accelerators.rates import rate
from raymi.train.checkpoint_writer import persist
from raymi.train.events import EVENTS_FILE, read_events
from raymi.train.objective import primary_metric
from raymi.train.outcome import Outcome
from raymi.train.plan import TrainPlan
from raymi.train.report import write_report
from raymi.train.result import Provenance, TrainResult
from raymi.train.run_files import RESULT_FILE
from raymi.train.telemetry import TELEMETRY_FILE, RankTelemetry, RunTelemetry, merge, rank_files


def finish(
    plan: TrainPlan, outcome: Outcome, *, attempts: int, provenance: Provenance
) -> TrainResult:
    """Write down the result of a run that ended well.

    Raises:
        TrainingError: It cannot be written, and patience has ended; `--resume` writes it.
    """
    run_dir = Path(plan.run_dir)
    patience_s = plan.spec.checkpoint.storage_patience_s
    result = TrainResult(
        run_id=plan.run_id,
        run_dir=plan.run_dir,
        spec=plan.spec.to_document(),
        spec_fingerprint=plan.spec.fingerprint(),
        dataset=plan.dataset.summary(),
        problem=plan.spec.problem,
        architecture=plan.architecture,
        preprocessing=plan.preprocessing,
        metrics=outcome.metrics,
        primary_metric=primary_metric(plan.preprocessing.target),
        samples_per_s=outcome.samples_per_s,
        peak_memory_gib=outcome.peak_memory_gib,
        duration_s=outcome.duration_s,
        attempts=attempts,
        parity=_parity(run_dir),
        teacher=plan.teacher,
        provenance=provenance,
    )
    persist(lambda: result.save(run_dir / RESULT_FILE), patience_s)
    persist(lambda: _telemetry(plan, outcome).save(run_dir / TELEMETRY_FILE), patience_s)
    write_report(run_dir)
    return result


def _parity(run_dir: Path) -> dict[str, Any] | None:
    """What the attempt that began the run found; later ones do not begin it."""
    found = [event for event in read_events(run_dir / EVENTS_FILE) if event["event"] == "parity"]
    return {k: v for k, v in found[-1].items() if k not in ("event", "time")} if found else None


def _telemetry(plan: TrainPlan, outcome: Outcome) -> RunTelemetry:
    rates = rate(find(plan.accelerator), plan.spec.precision)
    published = rates.achieved_tflops if rates else None
    return merge(
        [RankTelemetry.load(path) for path in rank_files(Path(plan.run_dir))],
        samples_per_s=outcome.samples_per_s,
        peak_tflops=rates.peak_tflops if rates else None,
        achieved_tflops=published or outcome.measured_tflops,
    )
