"""The same run without Ray: `torchrun --nproc-per-node 2 -m raymi.train.torchrun FILE`.

For machines without Ray, and for comparing with it: planning, loop and result are the same.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch.distributed as dist

from raymi.accelerators.catalog import Accelerator, require_precision
from raymi.accelerators.detect import resolve
from raymi.accelerators.environment import apply_environment, check_visible_devices
from raymi.errors import RaymiError, SpecError
from raymi.settings import settings
from raymi.specs.loading import load_spec
from raymi.specs.train import TrainSpec
from raymi.train.completion import finish
from raymi.train.events import EVENTS_FILE
from raymi.train.follow import follow
from raymi.train.interruption import listen_for_sigterm
from raymi.train.launcher import TorchrunLauncher
from raymi.train.loop import Ending, train_worker
from raymi.train.outcome import OUTCOME_FILE, Outcome
from raymi.train.plan import TrainPlan
from raymi.train.planning import describe, make_plan, open_run, reopen_run
from raymi.train.provenance import collect_provenance
from raymi.train.report import write_report
from raymi.train.run_files import new_run_id
from raymi.train.telemetry import forget_ranks

PLAN_FILE = "plan.json"


def main(argv: Sequence[str] | None = None) -> None:
    """Run one train spec in the processes that torchrun started."""
    arguments = _parse(argv)
    try:
        run(arguments.file, arguments.set, resume=arguments.resume)
    except RaymiError as error:
        if os.environ.get("RANK", "0") == "0":
            sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def run(file: Path, overrides: Sequence[str], *, resume: str | None) -> None:
    """Plan on rank 0, train on all, finish on rank 0.

    Raises:
        SpecError: It cannot run as asked.
        TrainingError: It started and failed.
    """
    spec = load_spec(file, overrides)
    if not isinstance(spec, TrainSpec) or spec.distillation is not None:
        raise SpecError(
            f"{file}: not a train spec that torchrun can run",
            why="it takes `kind: train` without distillation, whose teacher is in the registry",
            fix="use jobs/train.py on a Ray cluster",
        )
    accelerator = resolve(spec.resources.accelerator)
    require_precision(accelerator, spec.precision)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    apply_environment(accelerator, num_workers=world_size, precision=spec.precision)
    if accelerator.vendor == "amd":
        check_visible_devices(os.environ)
    listen_for_sigterm()
    launcher = TorchrunLauncher(backend=accelerator.collective_backend)
    plan = _shared_plan(spec, accelerator, launcher, resume=resume)
    if launcher.rank != 0:
        train_worker(plan, launcher)
        return
    say(f"run {plan.run_id}: {describe(plan)}")
    provenance = collect_provenance(accelerator, code_package=None)
    try:
        with follow({"": Path(plan.run_dir) / EVENTS_FILE}, say):
            ending = train_worker(plan, launcher)
    except RaymiError:
        write_report(Path(plan.run_dir))
        raise
    if ending is Ending.LEFT:
        say(f"stopped and saved; continue with --resume {plan.run_id}")
        return
    outcome = Outcome.load(Path(plan.run_dir) / OUTCOME_FILE)
    result = finish(plan, outcome, attempts=1, provenance=provenance)
    say(f"{result.primary_metric} {result.metrics[result.primary_metric]:.4f} in {result.run_dir}")


def say(line: str) -> None:
    """Print a line of progress at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _shared_plan(
    spec: TrainSpec, accelerator: Accelerator, launcher: TorchrunLauncher, *, resume: str | None
) -> TrainPlan:
    """Rank 0 decides, writes the plan into the run's directory, and tells the others where."""
    where: list[str | None] = [None]
    failure: RaymiError | None = None
    if launcher.rank == 0:
        try:
            where = [_open(spec, accelerator, resume)]
        except RaymiError as error:
            failure = error
    dist.broadcast_object_list(where, src=0)
    if failure is not None:
        raise failure
    if where[0] is None:
        sys.exit(2)
    return TrainPlan.load(Path(where[0]))


def _open(spec: TrainSpec, accelerator: Accelerator, resume: str | None) -> str:
    plan = make_plan(
        spec,
        run_id=resume or new_run_id(spec.name),
        accelerator=accelerator.name,
        store_dir=settings().store_dir,
    )
    if resume is None:
        open_run(plan)
    else:
        reopen_run(plan)
    path = Path(plan.run_dir) / PLAN_FILE
    plan.save(path)
    forget_ranks(Path(plan.run_dir))
    return str(path)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="torchrun -m raymi.train.torchrun", description="Run one train spec without Ray."
    )
    parser.add_argument("file", type=Path, help="a train spec (YAML)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="replace one field"
    )
    parser.add_argument("--resume", metavar="RUN_ID", help="continue a run")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
