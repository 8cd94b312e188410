"""What every Ray job executes: read one spec, run its stage, judge and register what came out.

`jobs/train.py` and `jobs/sweep.py` are two lines on top of `main`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raymi.errors import RaymiError, SpecError
from raymi.settings import settings
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
    """The sweep's or run's directory."""

    model: str
    """NAME@VERSION that was registered."""

    fingerprint: str
    """sha256 of that version's manifest."""

    metrics: dict[str, float]
    """On the test rows."""


def main(kind: str, argv: Sequence[str] | None = None) -> None:
    """Run one spec file and exit: 0 ok, 1 it failed, 2 it could not start as asked."""
    arguments = _parse(kind, argv)
    try:
        spec = load_spec(arguments.file, arguments.set)
        outcome = run(spec, kind=kind, resume=arguments.resume)
        if arguments.outcome is not None:
            outcome.save(arguments.outcome)
    except RaymiError as error:
        _say_error(error)
        sys.exit(error.exit_code)


def run(spec: JobSpec, *, kind: str, resume: str | None = None) -> JobOutcome:
    """Run the stages of one spec: train or sweep, then evaluate, then register.

    Raises:
        SpecError: The spec is of another kind.
        RaymiError: A stage could not start, or failed.
    """
    if isinstance(spec, TrainSpec) and kind == "train":
        return _train(spec, resume)
    if isinstance(spec, SweepSpec) and kind == "sweep":
        return _sweep(spec)
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


def _sweep(spec: SweepSpec) -> JobOutcome:
    from raymi.sweep import stage as sweep_stage
    from raymi.sweep.report import format_table

    result = sweep_stage.run(spec, store_dir=settings().store_dir, say=say, teach=_teach)
    say("")
    say(format_table(result))
    say("")
    winner = result.winner
    if winner is None:
        raise RaymiError(
            f"sweep {result.sweep_id}: no winner",
            why=result.decision.sentence,
            fix=f"loosen `constraints`, or read {result.sweep_dir}/sweep.json",
        )
    return _judge_and_register(winner, kind="sweep", path=result.sweep_dir)


def _judge_and_register(result: Any, *, kind: str, path: str) -> JobOutcome:
    from raymi.evaluate import stage as evaluate_stage
    from raymi.registry import stage as registry_stage
    from raymi.registry.store import open_store

    evaluation = evaluate_stage.run(result, store_dir=settings().store_dir)
    say(evaluation.sentence)
    version = registry_stage.run(result, evaluation, store=open_store())
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
    parser.add_argument("--resume", metavar="RUN_ID", help="continue a run (train only)")
    arguments = parser.parse_args(argv)
    if arguments.resume and kind != "train":
        parser.error("--resume continues a training run; sweeps start anew")
    return arguments
