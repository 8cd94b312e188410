"""Golden loss curves: what one spec did on one kind of hardware, to notice when it no longer does.

A baseline is a file beside the spec, `baselines/<accelerator>.json`. The same spec, data and
hardware should give the same curve up to rounding, whatever has been changed in between; a
curve that leaves its tolerance is a bug, or a change that wants a new baseline.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from raymi.errors import ConflictError, NotFoundError
from raymi.models.architecture import Architecture
from raymi.store.record import Record
from raymi.train.run_files import RunFiles, number, read_run

BASELINES = "baselines"
"""Directory of the baselines, beside a problem's `train.yaml`."""


_QUESTION = (
    "spec_fingerprint",
    "architecture",
    "dataset_fingerprint",
    "accelerator",
    "num_workers",
)


class Tolerance(Record):
    """How far a value may be from the baseline's: absolute + relative x |baseline|."""

    relative: float
    """Share of the baseline's value."""

    absolute: float
    """In the value's own unit, for those close to 0."""

    reason: str
    """Why this much."""

    def allows(self, value: float) -> float:
        """Largest difference from a baseline's value."""
        return self.absolute + self.relative * abs(value)


TOLERANCE = Tolerance(
    relative=0.05,
    absolute=0.005,
    reason="other CPUs, BLAS libraries and numbers of threads add in another order, other "
    "vendors' kernels even more so, and training amplifies the rounding",
)
"""Unless a baseline says otherwise. Twelve epochs of the digits moved by up to 1% with a second
thread, and by 0.001% without AVX."""


class EpochPoint(Record):
    """One epoch."""

    epoch: int
    """1, 2, ..."""

    values: dict[str, float]
    """`train_loss`: mean over the epoch's rows, as training saw them. `loss` and the primary
    metric: on the validation rows."""


class Baseline(Record):
    """What one run did; both what is kept and what is compared with it."""

    problem: str
    """The problem's module."""

    spec_fingerprint: str
    """sha256 of the resolved TrainSpec."""

    architecture: Architecture
    """The network, with all arguments: the spec names a problem, which may change its own."""

    dataset_fingerprint: str
    """sha256 of the rows."""

    accelerator: str
    """Ray's name of each worker's device, or `cpu`."""

    num_workers: int
    """That trained. Each draws its own dropout, so that another number is another curve."""

    torch: str
    """Version."""

    recorded_on: date
    """UTC."""

    curve: tuple[EpochPoint, ...]
    """Every epoch, in order."""

    samples_per_s: float
    """For information: speed is not compared."""

    tolerance: Tolerance
    """How far another run may be."""


class Difference(Record):
    """One value that is further from the baseline's than it may be, or is missing."""

    epoch: int
    """Of the curve."""

    quantity: str
    """`train_loss`, `loss` or the metric's name."""

    expected: float | None
    """The baseline's; None where its curve has ended."""

    found: float | None
    """The run's; None where its curve has ended."""

    allowed: float
    """Largest absolute difference."""


def record_baseline(run_dir: Path, *, tolerance: Tolerance = TOLERANCE) -> Baseline:
    """Read the curve of a run that ended well, in one attempt.

    Raises:
        NotFoundError: There is no such run.
        ConflictError: It has not ended well, or was interrupted, so that a part of its curve
            is missing.
    """
    run = read_run(run_dir)
    if run is None:
        raise NotFoundError(
            f"{run_dir.name}: no such run",
            why=f"nothing has happened in {run_dir}",
            fix="pass the name that the run printed when it began",
        )
    attempts = run.of_kind("attempt")
    if not run.result:
        raise _unusable(run, "it has not ended well")
    if len(attempts) != 1:
        raise _unusable(
            run, f"it took {len(attempts)} attempts, and an interrupted epoch has no whole loss"
        )
    result = run.result
    environment: dict[str, Any] = result["provenance"]["environment"]
    return Baseline(
        problem=result["problem"],
        spec_fingerprint=result["spec_fingerprint"],
        architecture=Architecture.model_validate(result["architecture"]),
        dataset_fingerprint=result["dataset"]["fingerprint"],
        accelerator=result["provenance"]["hardware"]["accelerator"],
        num_workers=int(attempts[0]["num_workers"]),
        torch=environment.get("torch", "unknown"),
        recorded_on=datetime.now(UTC).date(),
        curve=tuple(_curve(run, result["primary_metric"])),
        samples_per_s=result["samples_per_s"],
        tolerance=tolerance,
    )


def require_comparable(baseline: Baseline, run: Baseline) -> None:
    """Curves of other questions may differ.

    Raises:
        ConflictError: The run is of another spec or network, or had other rows, hardware or
            workers.
    """
    for name in _QUESTION:
        expected, found = getattr(baseline, name), getattr(run, name)
        if expected != found:
            raise ConflictError(
                f"the run and the baseline of {baseline.problem} cannot be compared",
                why=f"another {name.replace('_', ' ')}: {found} instead of {expected}",
                fix="run the problem's train.yaml as it is, or record a new baseline",
            )


def compare(baseline: Baseline, run: Baseline) -> tuple[Difference, ...]:
    """Every value of a run's curve that the baseline's tolerance does not allow, by epoch."""
    expected = {(p.epoch, name): value for p in baseline.curve for name, value in p.values.items()}
    found = {(p.epoch, name): value for p in run.curve for name, value in p.values.items()}
    differences = []
    # In the order of the baseline; what only the run has comes last.
    for epoch, name in dict.fromkeys((*expected, *found)):
        before, now = expected.get((epoch, name)), found.get((epoch, name))
        allowed = baseline.tolerance.allows(before or 0.0)
        if before is None or now is None or abs(now - before) > allowed:
            differences.append(
                Difference(epoch=epoch, quantity=name, expected=before, found=now, allowed=allowed)
            )
    return tuple(differences)


def _curve(run: RunFiles, metric: str) -> Iterator[EpochPoint]:
    for event in run.of_kind("epoch"):
        values = {}
        for name in ("train_loss", "loss", metric):
            value = number(event, name)
            if value is None:
                raise _unusable(run, f"epoch {event.get('epoch')} has no {name}")
            values[name] = value
        yield EpochPoint(epoch=event["epoch"], values=values)


def _unusable(run: RunFiles, why: str) -> ConflictError:
    return ConflictError(
        f"{run.run_id}: not a run to compare curves with",
        why=why,
        fix="run the spec again, undisturbed",
    )
