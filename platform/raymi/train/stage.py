"""Stage 2: turn a TrainSpec into a TrainResult on the cluster this job runs on."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from raymi.data import stage as data_stage
from raymi.data.fitting import fit_preprocessing
from raymi.data.library import open_dataset
from raymi.errors import DataError, NotFoundError, SpecError
from raymi.models.catalog import build_model, with_arguments
from raymi.models.own_code import source_of
from raymi.specs.data import Split
from raymi.specs.loading import parse_spec, resolved_yaml
from raymi.specs.rows import RowSourceName
from raymi.specs.train import TrainSpec
from raymi.train import cluster
from raymi.train.admission import admit
from raymi.train.events import EVENTS_FILE
from raymi.train.follow import follow
from raymi.train.launch import launch
from raymi.train.objective import primary_metric
from raymi.train.outcome import Outcome
from raymi.train.plan import TrainPlan
from raymi.train.problem import load_problem
from raymi.train.provenance import collect_provenance
from raymi.train.result import Provenance, TrainResult

SPEC_FILE = "spec.resolved.yaml"
RESULT_FILE = "result.json"


def run(
    spec: TrainSpec,
    *,
    store_dir: Path,
    say: Callable[[str], None],
    resume: str | None = None,
) -> TrainResult:
    """Train one model.

    Args:
        spec: What to train.
        store_dir: Where datasets and runs are kept; every worker must reach it.
        say: Receives progress, a line at a time.
        resume: A run to continue from its newest checkpoint.

    Raises:
        SpecError: The run cannot start as asked; nothing was started.
        TrainingError: It started and failed.
    """
    cluster.join()
    accelerator = admit(spec, cluster.nodes())
    plan = make_plan(
        spec, run_id=resume or new_run_id(spec.name), accelerator=accelerator.name,
        store_dir=store_dir,
    )  # fmt: skip
    _open_run(plan, resume=resume is not None)
    provenance = collect_provenance(accelerator, code_package=cluster.code_package())
    say(f"run {plan.run_id}: {describe(plan)}")
    with follow({"": Path(plan.run_dir) / EVENTS_FILE}, say):
        outcome, attempts = launch(plan)
    return finish(plan, outcome, attempts=attempts, provenance=provenance)


def make_plan(spec: TrainSpec, *, run_id: str, accelerator: str, store_dir: Path) -> TrainPlan:
    """Decide everything about a run that needs no cluster: data, preprocessing, network.

    Raises:
        SpecError, DataError, NotFoundError: It cannot be trained as asked.
    """
    problem = load_problem(spec.problem)
    version = data_stage.run(spec.data, store_dir=store_dir)
    dataset, directory = open_dataset(store_dir, version.name, version.fingerprint)
    preprocessing = fit_preprocessing(
        dataset,
        task=problem.task,
        ignore=problem.ignore,
        categories=problem.categories,
        texts=problem.texts,
    )
    architecture = with_arguments(problem.architecture, spec.model)
    # A network that cannot be built, or could not be registered later, fails here.
    build_model(architecture, preprocessing)
    source_of(architecture)
    if dataset.num_rows(Split.TEST) == 0:
        raise DataError(
            f"dataset {dataset.name}: no test rows",
            why="a model is judged on rows that training never saw, and there are none",
            fix="import it again with a test file, or with `split.test` above 0",
        )
    return TrainPlan(
        run_id=run_id,
        run_dir=str(store_dir / "runs" / run_id),
        spec=spec,
        dataset=dataset,
        dataset_dir=str(directory),
        preprocessing=preprocessing,
        architecture=architecture,
        accelerator=accelerator,
        micro_batch_size=spec.batch.micro_batch_size,
        row_source=RowSourceName.MEMORY_MAP,
    )


def finish(
    plan: TrainPlan, outcome: Outcome, *, attempts: int, provenance: Provenance
) -> TrainResult:
    """Write down the result of a run that ended well."""
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
        provenance=provenance,
    )
    result.save(Path(plan.run_dir) / RESULT_FILE)
    return result


def describe(plan: TrainPlan) -> str:
    """One line for people: data, arithmetic, batches, workers."""
    spec = plan.spec
    return (
        f"{plan.dataset.name}@{plan.dataset.fingerprint[:12]}, {spec.precision.value}, "
        f"global batch {spec.batch.global_batch_size} = {spec.resources.max_workers} workers x "
        f"{spec.batch.micro_batch_size} x "
        f"{spec.batch.accumulation_steps(spec.resources.max_workers)} steps, "
        f"{spec.epochs} epochs on {plan.accelerator}"
    )


def new_run_id(name: str) -> str:
    """A name that sorts by time and never repeats."""
    return f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def open_run(plan: TrainPlan) -> None:
    """Make the run's directory and write the spec that reproduces it."""
    run_dir = Path(plan.run_dir)
    run_dir.mkdir(parents=True)
    (run_dir / SPEC_FILE).write_text(resolved_yaml(plan.spec), encoding="utf-8")


def _open_run(plan: TrainPlan, *, resume: bool) -> None:
    if not resume:
        open_run(plan)
        return
    path = Path(plan.run_dir) / SPEC_FILE
    if not path.is_file():
        raise NotFoundError(
            f"--resume {plan.run_id}: no such run",
            why=f"{path} does not exist",
            fix="leave --resume out to start a new run",
        )
    earlier = parse_spec(path.read_text(encoding="utf-8"), where=str(path))
    if earlier.fingerprint() != plan.spec.fingerprint():
        raise SpecError(
            f"--resume {plan.run_id}: the spec has changed since",
            why="a resumed run must end as the undisturbed one would have",
            fix=f"pass {path}, or leave --resume out",
        )
