"""The same run in this process, by one worker: no Ray, no torchrun, nothing to start.

For comparisons that train many small models, for baselines, and for looking around.
"""

from __future__ import annotations

from pathlib import Path

from raymi.accelerators.catalog import find, require_precision
from raymi.accelerators.detect import resolve
from raymi.specs.train import TrainSpec
from raymi.train.completion import finish
from raymi.train.launcher import SingleProcessLauncher
from raymi.train.loop import train_worker
from raymi.train.outcome import OUTCOME_FILE, Outcome
from raymi.train.plan import TrainPlan
from raymi.train.planning import make_plan, open_run
from raymi.train.provenance import collect_provenance
from raymi.train.result import TrainResult
from raymi.train.run_files import new_run_id
from raymi.train.teaching import Teach, taught


def run(spec: TrainSpec, *, store_dir: Path, teach: Teach | None = None) -> TrainResult:
    """Train to the end with one worker, whatever the spec's number of workers.

    Args:
        spec: What to train.
        store_dir: Where datasets and runs are kept.
        teach: Asks the spec's teacher; needed if it has one.

    Raises:
        SpecError, DataError, NotFoundError: It cannot run as asked.
        TrainingError: It started and failed.
    """
    [plan] = taught([open_plan(spec, store_dir=store_dir)], teach)
    return train(plan)


def open_plan(spec: TrainSpec, *, store_dir: Path) -> TrainPlan:
    """Plan a run of one worker, and make its directory.

    Raises:
        SpecError, DataError, NotFoundError: It cannot run as asked.
    """
    accelerator = resolve(spec.resources.accelerator)
    require_precision(accelerator, spec.precision)
    plan = make_plan(
        spec,
        run_id=new_run_id(spec.name),
        accelerator=accelerator.name,
        store_dir=store_dir,
    )
    open_run(plan)
    return plan


def train(plan: TrainPlan) -> TrainResult:
    """Train a plan to the end.

    Raises:
        TrainingError: It started and failed.
    """
    accelerator = find(plan.accelerator)
    provenance = collect_provenance(accelerator, code_package=None)
    train_worker(plan, SingleProcessLauncher(device="cuda:0" if accelerator.is_gpu else "cpu"))
    outcome = Outcome.load(Path(plan.run_dir) / OUTCOME_FILE)
    return finish(plan, outcome, attempts=1, provenance=provenance)
