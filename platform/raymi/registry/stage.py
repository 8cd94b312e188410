"""Stage 5: make a judged run a model version that can be promoted and served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raymi.data.library import open_dataset
from raymi.evaluate.result import Evaluation
from raymi.registry.actor import current_user
from raymi.registry.bundle import ServingHints, serving_hints, write_bundle
from raymi.registry.protocol import ModelStore
from raymi.registry.signature import derive_signature
from raymi.registry.version import ModelSummary, ModelVersion
from raymi.settings import settings
from raymi.train.outcome import MODEL_FILE
from raymi.train.result import TrainResult


def run(
    result: TrainResult,
    evaluation: Evaluation,
    *,
    store: ModelStore,
    store_dir: Path | None = None,
    batch_sizes: Sequence[int] = (),
) -> ModelVersion:
    """Register a run under its spec's name; it becomes the candidate.

    Args:
        result: The run.
        evaluation: Its judgement.
        store: The registry.
        store_dir: Where the dataset is; unset: this process's store.
        batch_sizes: Sizes that a sweep found worth trying in serving, smallest first.

    Raises:
        NotFoundError: The dataset is gone.
        SpecError: The network's own file cannot travel with the bundle.
    """
    # The evaluation has just read every byte of it.
    dataset, _ = open_dataset(
        store_dir or settings().store_dir,
        result.dataset["name"],
        result.dataset["fingerprint"],
        check=False,
    )
    signature = derive_signature(result.preprocessing, dataset)
    hints = serving_hints(result, batch_sizes)
    summary = summarise(result, evaluation, hints)

    def write(directory: Path) -> None:
        write_bundle(
            directory,
            result=result,
            evaluation=evaluation,
            signature=signature,
            weights=Path(result.run_dir) / MODEL_FILE,
            hints=hints,
        )

    return store.register(result.spec["name"], summary, write, by=current_user())


def summarise(result: TrainResult, evaluation: Evaluation, hints: ServingHints) -> ModelSummary:
    """What a listing will show of a version."""
    return ModelSummary(
        run_id=result.run_id,
        metrics=evaluation.metrics,
        primary_metric=evaluation.primary_metric,
        interval=evaluation.interval,
        precision=hints.precision,
        micro_batch_size=hints.max_batch_size,
        dataset=result.dataset,
    )
