"""What every Ray job executes: read one spec, run its stage, judge and register what came out.

`jobs/train.py`, `jobs/sweep.py` and `jobs/batch_predict.py` are two lines on top of `main`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raymi.errors import RaymiError, SpecError
from raymi.settings import settings
from raymi.specs.batch_predict import BatchPredictSpec
from raymi.specs.job import JobSpec
from raymi.specs.loading import load_spec
from raymi.specs.sweep import SweepSpec
from raymi.specs.train import TrainSpec
from raymi.store.record import Record

if TYPE_CHECKING:
    from raymi.train.plan import TrainPlan


class JobOutcome(Record):
    """What a job leaves for whoever submitted it."""

    kind: str
    """Of the spec."""

    path: str
    """The sweep's, run's or predictions' directory."""

    model: str
    """NAME@VERSION that was registered, or that predicted."""

    fingerprint: str
    """sha256 of that version's manifest."""

    metrics: dict[str, float]
    """On the test rows; of a batch prediction, what there is to count."""


def main(kind: str, argv: Sequence[str] | None = None) -> None:
    """Run one spec file and exit: 0 ok, 1 it failed, 2 it could not start as asked."""
    arguments = _parse(kind, argv)
    try:
        spec = load_spec(arguments.file, arguments.set)
        outcome = run(spec, kind=kind, resume=arguments.resume, starts_anew=arguments.starts_anew)
        if arguments.outcome is not None:
            outcome.save(arguments.outcome)
    except RaymiError as error:
        _say_error(error)
        sys.exit(error.exit_code)


def run(
    spec: JobSpec, *, kind: str, resume: str | None = None, starts_anew: bool = False
) -> JobOutcome:
    """Run the stages of one spec: train or sweep, then evaluate, then register; or predict.

    Args:
        spec: What to run.
        kind: The only kind that this job runs.
        resume: Train only: a run to continue.
        starts_anew: Not for train: leave what an interrupted job of the same spec has made alone.

    Raises:
        SpecError: The spec is of another kind.
        RaymiError: A stage could not start, or failed.
    """
    if isinstance(spec, TrainSpec) and kind == "train":
        return _train(spec, resume)
    if isinstance(spec, SweepSpec) and kind == "sweep":
        return _sweep(spec, starts_anew=starts_anew)
    if isinstance(spec, BatchPredictSpec) and kind == "batch_predict":
        return _batch_predict(spec, starts_anew=starts_anew)
    raise SpecError(
        f"this job runs {kind} specs, the file is `kind: {spec.kind}`",
        why="each entry point runs one kind of spec",
        fix=f"use jobs/{spec.kind}.py, or pass a {kind} spec",
    )


def _train(spec: TrainSpec, resume: str | None) -> JobOutcome:
    from raymi.train import stage as train_stage

    result = train_stage.run(
        spec, store_dir=settings().store_dir, say=say, resume=resume, teach=_teach
    )
    return _judge_and_register(result, kind="train", path=result.run_dir)


def _teach(plans: Sequence[TrainPlan]) -> list[TrainPlan]:
    """Have registered models answer; called only if a plan has a teacher."""
    from raymi.registry.store import open_store
    from raymi.registry.teacher import teach

    return teach(plans, open_store())


def _sweep(spec: SweepSpec, *, starts_anew: bool) -> JobOutcome:
    from raymi.sweep import stage as sweep_stage

    result = sweep_stage.run(
        spec, store_dir=settings().store_dir, say=say, teach=_teach, starts_anew=starts_anew
    )
    if result.winner is None:
        raise RaymiError(
            f"sweep {result.sweep_id}: no winner to register",
            why=result.sentence,
            fix=f"loosen `constraints` or `budget`, or read {result.sweep_dir}/report.html",
        )
    return _judge_and_register(
        result.winner,
        kind="sweep",
        path=result.sweep_dir,
        batch_sizes=result.serving_batch_sizes,
    )


def _batch_predict(spec: BatchPredictSpec, *, starts_anew: bool) -> JobOutcome:
    from raymi.registry.store import open_store
    from raymi.serve.batch import stage as batch_stage

    made = batch_stage.run(
        spec,
        store=open_store(),
        store_dir=settings().store_dir,
        say=say,
        starts_anew=starts_anew,
    )
    counts = {"num_rows": made.num_rows, "num_failed": made.num_failed}
    speed = {} if made.rows_per_s is None else {"rows_per_s": made.rows_per_s}
    return JobOutcome(
        kind=spec.kind,
        path=made.path,
        model=made.model,
        fingerprint=made.fingerprint,
        metrics={**counts, **speed},
    )


def _judge_and_register(
    result: Any, *, kind: str, path: str, batch_sizes: Sequence[int] = ()
) -> JobOutcome:
    from raymi.evaluate import stage as evaluate_stage
    from raymi.registry import stage as registry_stage
    from raymi.registry.store import open_store

    evaluation = evaluate_stage.run(result, store_dir=settings().store_dir)
    say(evaluation.sentence)
    version = registry_stage.run(result, evaluation, store=open_store(), batch_sizes=batch_sizes)
    model = f"{version.name}@{version.version}"
    say(f"registered {model} (candidate), everything is in {path}")
    say(f"next: raymi promote {model}, then raymi deploy {version.name}@champion")
    return JobOutcome(
        kind=kind,
        path=path,
        model=model,
        fingerprint=version.fingerprint,
        metrics=evaluation.metrics,
    )


def say(line: str) -> None:
    """Print a line of progress at once: job logs are followed live."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _say_error(error: RaymiError) -> None:
    sys.stderr.write(f"error: {error}\n")
    sys.stderr.flush()


def _parse(kind: str, argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"Run one {kind} spec.")
    parser.add_argument("file", type=Path, help=f"a {kind} spec (YAML)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="replace one field"
    )
    parser.add_argument("--outcome", type=Path, help="write a JSON summary to this file")
    if kind == "train":
        parser.add_argument("--resume", metavar="RUN_ID", help="continue a run")
    else:
        parser.add_argument(
            "--new",
            dest="starts_anew",
            action="store_true",
            help="start a new sweep although one of the same spec was interrupted"
            if kind == "sweep"
            else "move what is in the output's place aside, and begin again",
        )
    parser.set_defaults(resume=None, starts_anew=False)
    return parser.parse_args(argv)
