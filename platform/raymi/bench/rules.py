"""What is the same for every contestant: the run, its settings and its rows.

A run under the bench never ends by itself, never saves, and has a constant learning rate, so
that nobody needs a scheduler. Everything else is as the spec says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from raymi.data.loading import load_split
from raymi.data.shards import write_shards
from raymi.data.version import Split
from raymi.errors import SpecError
from raymi.specs.optimizer import ScheduleShape
from raymi.specs.parallelism import ParallelismSpec
from raymi.specs.rows import RowSourceName
from raymi.specs.train import TrainSpec
from raymi.train.plan import TrainPlan

NEVER = 10**9
"""Epochs of a run that is ended from outside, and steps between its checkpoints."""

ENOUGH_STEPS = 1024
"""Steps per epoch that a small dataset is repeated to, so that a turn fits into an epoch."""

FEWEST_STEPS = 64
"""Steps per epoch whatever a row weighs."""

MAX_REPEATED_BYTES = 32 << 20
"""Prepared rows that a dataset is repeated to at most; a larger one is taken once."""


def level(spec: TrainSpec) -> TrainSpec:
    """The run that all contestants can do, and that goes on until it is told to stop.

    Raises:
        SpecError: The spec asks for what the others have no counterpart of.
    """
    extras = {
        "parallelism": spec.parallelism != ParallelismSpec(),
        "distillation": spec.distillation is not None,
        "optimizer.ema_decay": spec.optimizer.ema_decay is not None,
        "rows.source": spec.rows.source is RowSourceName.STREAM,
    }
    if unequal := [path for path, is_set in extras.items() if is_set]:
        raise SpecError(
            f"bench: nothing to compare with under {', '.join(unequal)}",
            why="the contestants do plain data-parallel training from memory",
            fix="take these fields out of the spec for the bench",
        )
    changes: dict[str, Any] = {
        "epochs": NEVER,
        "max_steps": None,
        "schedule": {"shape": ScheduleShape.CONSTANT.value, "warmup_fraction": 0.0},
        "resources": {**spec.resources.to_document(), "num_workers": spec.resources.max_workers},
        "checkpoint": {**spec.checkpoint.to_document(), "every_steps": NEVER},
        # Nobody looks at the loss: passing over the same rows for ever is allowed to end badly.
        "health": {**spec.health.to_document(), "max_loss_growth": None, "parity_steps": 0},
    }
    return TrainSpec.from_document(spec.to_document() | changes)


def alone(spec: TrainSpec) -> TrainSpec:
    """One worker's part of a run, as a run of its own: the same rows each step, nobody to ask."""
    num_workers = spec.resources.max_workers
    changes = {
        "resources": {**spec.resources.to_document(), "num_workers": 1},
        "batch": {
            "global_batch_size": spec.batch.global_batch_size // num_workers,
            "micro_batch_size": spec.batch.micro_batch_size,
        },
    }
    return TrainSpec.from_document(spec.to_document() | changes)


def num_repeats(num_rows: int, *, global_batch_size: int, row_bytes: int) -> int:
    """How often to repeat a dataset so that a turn fits between two ends of an epoch."""
    enough = ENOUGH_STEPS * global_batch_size
    affordable = MAX_REPEATED_BYTES // max(1, row_bytes)
    wanted = max(min(enough, affordable), FEWEST_STEPS * global_batch_size)
    return max(1, -(-wanted // num_rows))


def repeat_rows(plan: TrainPlan, directory: Path) -> TrainPlan:
    """The plan with its training rows repeated, in files below `directory`, if they are few."""
    tables = {
        split: load_split(Path(plan.dataset_dir), plan.dataset, split)
        for split in Split
        if plan.dataset.num_rows(split)
    }
    train = tables[Split.TRAIN]
    times = num_repeats(
        train.num_rows,
        global_batch_size=plan.spec.batch.global_batch_size,
        row_bytes=_prepared_bytes(plan, train.slice(0, 1)),
    )
    if times == 1:
        return plan
    directory.mkdir()
    tables = {split: tables.get(split, train.slice(0, 0)) for split in Split}
    tables[Split.TRAIN] = pa.concat_tables([train] * times)
    shards = write_shards(tables, directory, rows_per_shard=tables[Split.TRAIN].num_rows)
    dataset = plan.dataset.model_copy(update={"shards": shards})
    return plan.model_copy(update={"dataset": dataset, "dataset_dir": str(directory)})


def _prepared_bytes(plan: TrainPlan, row: pa.Table) -> int:
    """Of one row, as the network reads it."""
    prepared = plan.preprocessing.prepare(plan.preprocessing.encode(row))
    return sum(array.nbytes for array in prepared.values())
