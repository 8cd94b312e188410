"""Every worker scores its own rows, and together they score each row once."""

from pathlib import Path

import numpy as np
import pytest

from raymi.data.loading import load_split
from raymi.data.version import Split
from raymi.specs.rows import RowSourceName
from raymi.train.encoded_rows import TARGETS, encode_rows
from raymi.train.evaluation_rows import EvaluationRows
from tests.contract.row_source_contract import make_plan


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return make_plan(tmp_path_factory.mktemp("rows"), RowSourceName.MEMORY_MAP, rows_per_shard=10)


@pytest.mark.parametrize("num_workers", [1, 2, 5])
def test_the_shares_together_are_the_split_in_the_order_of_the_source(plan, num_workers):
    table = load_split(Path(plan.dataset_dir), plan.dataset, Split.VALIDATION)
    expected = encode_rows(plan.preprocessing, table)
    rows = EvaluationRows(plan, Split.VALIDATION)

    batches = [
        {TARGETS: batch.targets.clone()} | {n: a.clone() for n, a in batch.arrays.items()}
        for rank in range(num_workers)
        for batch in rows.batches(rank, num_workers, 7)
    ]

    assert rows.num_rows == table.num_rows
    for name, array in expected.items():
        assert np.array_equal(np.concatenate([batch[name] for batch in batches]), array)


def test_shares_differ_by_one_row_at_most_and_every_row_counts(plan):
    rows = EvaluationRows(plan, Split.VALIDATION)

    weights = [
        sum(float(batch.weights.sum()) for batch in rows.batches(rank, 3, 4)) for rank in range(3)
    ]

    assert sum(weights) == rows.num_rows
    assert max(weights) - min(weights) <= 1


def test_more_workers_than_rows_leave_some_without(plan):
    rows = EvaluationRows(plan, Split.VALIDATION)
    num_workers = rows.num_rows + 1

    assert list(rows.batches(num_workers - 1, num_workers, 4)) == []
