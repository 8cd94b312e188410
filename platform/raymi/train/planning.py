"""From a TrainSpec to a TrainPlan and the run's directory; needs no cluster, and no Ray."""

from __future__ import annotations

from pathlib import Path

import psutil

from raymi.data import stage as data_stage
from raymi.data.fitting import fit_preprocessing
from raymi.data.library import open_dataset
from raymi.errors import DataError, NotFoundError, SpecError
from raymi.models.catalog import build_model, with_arguments
from raymi.models.own_code import source_of
from raymi.specs.data import Split
from raymi.specs.loading import parse_spec, resolved_yaml
from raymi.specs.train import TrainSpec
from raymi.store.record import write_atomically
from raymi.train.plan import TrainPlan
from raymi.train.problem import load_problem
from raymi.train.row_choice import choose_row_source, dataset_bytes
from raymi.train.run_files import SPEC_FILE


def make_plan(
    spec: TrainSpec,
    *,
    run_id: str,
    accelerator: str,
    store_dir: Path,
    node_memory_bytes: int | None = None,
) -> TrainPlan:
    """Decide everything about a run that needs no cluster: data, preprocessing, network.

    Args:
        spec: What was asked for.
        run_id: Name of the run and its directory.
        accelerator: Ray's name of each worker's device, or `cpu`.
        store_dir: Where datasets and runs are.
        node_memory_bytes: Of the smallest node; unset: of this machine.

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
        context=problem.context,
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
        row_source=choose_row_source(
            spec.rows,
            dataset_bytes=dataset_bytes(directory, dataset),
            node_memory_bytes=node_memory_bytes or psutil.virtual_memory().total,
        ),
    )


def describe(plan: TrainPlan) -> str:
    """One line for people: data, arithmetic, batches, workers."""
    spec, num_workers = plan.spec, plan.spec.resources.max_workers
    accumulation = spec.batch.accumulation_steps(num_workers)
    limit = f", at most {spec.max_steps} steps" if spec.max_steps is not None else ""
    return (
        f"{plan.dataset.name}@{plan.dataset.fingerprint[:12]}, {spec.precision.value}, "
        f"global batch {spec.batch.global_batch_size} = {num_workers} workers x "
        f"{spec.batch.micro_batch_size} x {accumulation} steps, "
        f"{spec.epochs} epochs{limit} on {plan.accelerator}"
    )


def open_run(plan: TrainPlan) -> None:
    """Make the run's directory and write the spec that reproduces it."""
    run_dir = Path(plan.run_dir)
    run_dir.mkdir(parents=True)
    (run_dir / SPEC_FILE).write_text(resolved_yaml(plan.spec), encoding="utf-8")


def ensure_run(plan: TrainPlan) -> None:
    """Make the run's directory, unless a driver that was interrupted has made it before.

    Raises:
        SpecError: What is there is another run.
    """
    if (Path(plan.run_dir) / SPEC_FILE).is_file():
        reopen_run(plan)
        return
    Path(plan.run_dir).mkdir(parents=True, exist_ok=True)
    write_atomically(Path(plan.run_dir) / SPEC_FILE, resolved_yaml(plan.spec))


def reopen_run(plan: TrainPlan) -> None:
    """Check that a run exists and that its spec is still the same.

    Raises:
        NotFoundError: There is no such run.
        SpecError: The spec has changed.
    """
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
