"""What every RowSource promises; the memory-mapped and the streamed one pass the same tests."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymi.data import stage as data_stage
from raymi.data.fitting import fit_preprocessing
from raymi.data.library import open_dataset
from raymi.data.loading import load_split
from raymi.data.version import Split
from raymi.models.architecture import Architecture
from raymi.specs.data import DataSpec
from raymi.specs.rows import RowSourceName
from raymi.specs.train import TrainSpec
from raymi.train.batch import Batch, RowSource, Step
from raymi.train.order import row_order
from raymi.train.plan import TrainPlan

GLOBAL_BATCH = 32
MICRO_BATCH = 4
NUM_LABELS = 3

OpenSource = Callable[..., RowSource]


def table(num_rows: int) -> pa.Table:
    """One column of every kind; `number` tells the rows apart."""
    draw = np.random.default_rng(0)
    colours = ["red", "green", None, "blue"]
    pixels = draw.integers(0, 256, (num_rows, 2, 3), dtype=np.uint8)
    return pa.table(
        {
            "number": np.arange(num_rows, dtype=np.float64),
            "colour": [colours[i % 4] for i in range(num_rows)],
            "pixels": pa.array(pixels.tolist(), pa.list_(pa.list_(pa.uint8(), 3), 2)),
            "note": [f"row {i} of many" for i in range(num_rows)],
            "label": ["a" if i % 3 else "b" if i % 2 else "c" for i in range(num_rows)],
        }
    )


def make_plan(directory: Path, source: RowSourceName, *, rows_per_shard: int = 40) -> TrainPlan:
    """About 210 training rows in several shards: the last step and the last shard are ragged."""
    pq.write_table(table(300), directory / "rows.parquet")
    data = {
        "name": "things",
        "root": str(directory),
        "sources": [{"path": "rows.parquet"}],
        "target": "label",
        "rows_per_shard": rows_per_shard,
    }
    store = directory / "store"
    data_stage.run(DataSpec.from_document(data), store_dir=store)
    dataset, dataset_dir = open_dataset(store, "things")
    soft_targets = directory / "soft_targets.npy"
    num_rows = dataset.num_rows(Split.TRAIN)
    np.save(soft_targets, np.arange(num_rows * NUM_LABELS, dtype=np.float32).reshape(num_rows, -1))
    spec = {
        "name": "things",
        "problem": "unused",
        "data": "things",
        "batch": {"global_batch_size": GLOBAL_BATCH, "micro_batch_size": MICRO_BATCH},
        "rows": {"shuffle_block_rows": 8, "shuffle_window_blocks": 3},
    }
    return TrainPlan(
        run_id="run",
        run_dir=str(directory),
        spec=TrainSpec.from_document(spec),
        dataset=dataset,
        dataset_dir=str(dataset_dir),
        preprocessing=fit_preprocessing(dataset, texts=("note",)),
        architecture=Architecture(name="mlp", arguments={}),
        accelerator="cpu",
        micro_batch_size=MICRO_BATCH,
        row_source=source,
        soft_targets=str(soft_targets),
    )


def training_rows(plan: TrainPlan) -> pa.Table:
    return load_split(Path(plan.dataset_dir), plan.dataset, Split.TRAIN)


def kept(batch: Batch) -> Batch:
    """A copy that outlives the step."""
    assert batch.soft_targets is not None
    return Batch(
        {name: array.clone() for name, array in batch.arrays.items()},
        batch.targets.clone(),
        batch.weights.clone(),
        batch.soft_targets.clone(),
    )


def take(source: RowSource, epoch: int = 0, first_step: int = 0) -> list[Step]:
    """All steps from a position on, copied."""
    return [
        Step(step.num_rows, tuple(map(kept, step.batches)))
        for step in source.steps(epoch, first_step)
    ]


def row_numbers(step: Step) -> list[int]:
    """The rows with weight, told by their soft targets."""
    numbers = []
    for batch in step.batches:
        assert batch.soft_targets is not None
        first_output = batch.soft_targets[:, 0].numpy()
        numbers.extend((first_output[batch.weights.numpy() == 1] / NUM_LABELS).astype(int).tolist())
    return numbers


def assert_same(left: list[Step], right: list[Step]) -> None:
    """Bit for bit."""
    assert [as_lists(step) for step in left] == [as_lists(step) for step in right]


def as_lists(step: Step) -> str:
    return json.dumps(
        [
            step.num_rows,
            [
                [
                    {name: array.tolist() for name, array in batch.arrays.items()},
                    batch.targets.tolist(),
                    batch.weights.tolist(),
                    batch.soft_targets.tolist(),
                ]
                for batch in step.batches
            ],
        ]
    )


class RowSourceContract:
    """Needs the fixtures `plan` and `open_source`."""

    def test_the_steps_of_an_epoch_hold_the_rows_of_the_order(
        self, plan: TrainPlan, open_source: OpenSource
    ) -> None:
        num_rows = plan.dataset.num_rows(Split.TRAIN)
        expected = row_order(plan).rows(1, 0, num_rows)

        source = open_source(rank=0, num_workers=1)
        steps = take(source, epoch=1)

        assert (source.num_rows, source.steps_per_epoch) == (num_rows, len(steps))
        assert [row for step in steps for row in row_numbers(step)] == expected.tolist()
        assert [step.num_rows for step in steps] == [len(row_numbers(step)) for step in steps]

    def test_every_array_holds_the_same_row_as_the_dataset(
        self, plan: TrainPlan, open_source: OpenSource
    ) -> None:
        rows = training_rows(plan)
        encoded = plan.preprocessing.encode(rows)
        encoded["numbers"] = plan.preprocessing.prepare_numbers(encoded["numbers"])
        targets = plan.preprocessing.encode_target(rows)
        soft = np.load(plan.soft_targets)

        (step, *_) = take(open_source(rank=0, num_workers=1))

        start = 0
        numbers = row_numbers(step)
        for batch in step.batches:
            real = int(batch.weights.sum())
            chosen = numbers[start : start + real]
            start += real
            assert batch.arrays.keys() == encoded.keys()
            for name, array in batch.arrays.items():
                assert array.numpy().dtype == encoded[name].dtype
                assert np.array_equal(array[:real].numpy(), encoded[name][chosen])
            assert np.array_equal(batch.targets[:real].numpy(), targets[chosen])
            assert np.array_equal(batch.soft_targets[:real].numpy(), soft[chosen])

    def test_a_run_resumed_within_an_epoch_sees_the_undisturbed_tail(
        self, plan: TrainPlan, open_source: OpenSource
    ) -> None:
        undisturbed = take(open_source(rank=0, num_workers=2))

        source = open_source(rank=0, num_workers=2)

        for first in (1, 3, len(undisturbed) - 1):
            assert_same(take(source, first_step=first), undisturbed[first:])
        assert take(source, first_step=len(undisturbed)) == []

    @pytest.mark.parametrize("num_workers", [2, 3])
    def test_the_rows_of_a_step_are_shared_out_whole_and_in_order(
        self, plan: TrainPlan, open_source: OpenSource, num_workers: int
    ) -> None:
        alone = take(open_source(rank=0, num_workers=1))

        shares = [
            take(open_source(rank=rank, num_workers=num_workers)) for rank in range(num_workers)
        ]

        for whole, *parts in zip(alone, *shares, strict=True):
            assert [row for part in parts for row in row_numbers(part)] == row_numbers(whole)
            assert {part.num_rows for part in parts} == {whole.num_rows}
            assert len({len(part.batches) for part in parts}) == 1
            sizes = {len(batch.weights) for part in parts for batch in part.batches}
            assert sizes == {MICRO_BATCH}

    def test_steps_that_are_left_early_do_not_disturb_the_next(
        self, plan: TrainPlan, open_source: OpenSource
    ) -> None:
        source = open_source(rank=0, num_workers=1)
        expected = take(source)

        next(iter(source.steps(0, 0)))

        assert_same(take(source), expected)
