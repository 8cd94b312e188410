"""Stage 2: turn a TrainSpec into a TrainResult on the cluster this job runs on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from raymi.errors import RaymiError, TrainingError
from raymi.specs.train import TrainSpec
from raymi.train import cluster
from raymi.train.admission import admit, node_memory_bytes
from raymi.train.completion import finish
from raymi.train.events import EVENTS_FILE
from raymi.train.follow import follow
from raymi.train.launch import launch
from raymi.train.planning import describe, make_plan, open_run, reopen_run
from raymi.train.provenance import collect_provenance
from raymi.train.report import write_report
from raymi.train.result import TrainResult
from raymi.train.run_files import new_run_id
from raymi.train.teaching import Teach, taught


def run(
    spec: TrainSpec,
    *,
    store_dir: Path,
    say: Callable[[str], None],
    resume: str | None = None,
    teach: Teach | None = None,
) -> TrainResult:
    """Train one model.

    Args:
        spec: What to train.
        store_dir: Where datasets and runs are kept; every worker must reach it.
        say: Receives progress, a line at a time.
        resume: A run to continue from its newest checkpoint.
        teach: Asks the spec's teacher; needed if it has one.

    Raises:
        SpecError: The run cannot start as asked; nothing was started.
        TrainingError: It started and failed.
    """
    cluster.join()
    nodes = cluster.nodes()
    accelerator = admit(spec, nodes)
    plan = make_plan(
        spec,
        run_id=resume or new_run_id(spec.name),
        accelerator=accelerator.name,
        store_dir=store_dir,
        node_memory_bytes=node_memory_bytes(nodes),
    )
    if resume is None:
        open_run(plan)
    else:
        reopen_run(plan)
    try:
        [plan] = taught([plan], teach)
    except RaymiError:
        if resume is None:
            shutil.rmtree(plan.run_dir)
        raise
    provenance = collect_provenance(accelerator, code_package=cluster.code_package())
    say(f"run {plan.run_id}: {describe(plan)}")
    try:
        with follow({"": Path(plan.run_dir) / EVENTS_FILE}, say):
            outcome, attempts = launch(plan)
    except TrainingError:
        if page := write_report(Path(plan.run_dir)):
            say(f"what happened, with plots: {page}")
        raise
    return finish(plan, outcome, attempts=attempts, provenance=provenance)
