"""The data benchmark counts what it says: rows, files, bytes, and pairs of turns."""

from pathlib import Path

import pytest

from raymi.bench.data_speed import MICRO_BATCH_SIZES, DataSpeed, measure
from raymi.data.loading import load_split
from raymi.data.version import Split
from raymi.specs.rows import RowSourceName
from tests.contract.row_source_contract import make_plan


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return make_plan(tmp_path_factory.mktemp("rows"), RowSourceName.MEMORY_MAP)


@pytest.fixture(scope="module")
def speed(plan) -> DataSpeed:
    return measure(
        Path(plan.dataset_dir), plan.dataset, plan.preprocessing, repeats=3, seconds=0.001
    )


def test_it_covers_all_training_shards_and_no_others(plan, speed):
    files = sorted(Path(plan.dataset_dir).glob("train-*.arrow"))

    assert speed.num_rows == plan.dataset.num_rows(Split.TRAIN)
    assert speed.num_shards == len(files)
    assert speed.file_bytes == sum(file.stat().st_size for file in files)


def test_a_row_is_all_its_encoded_columns_and_its_target(plan, speed):
    one_row = load_split(Path(plan.dataset_dir), plan.dataset, Split.TRAIN).slice(0, 1)
    tokens = plan.preprocessing.encode(one_row)["tokens:note"]

    assert speed.row_bytes == 3 * 4 + 4 + 6 + tokens.nbytes + 8


def test_speeds_and_shares_are_given_for_each_batch_size(speed):
    assert [d.micro_batch_size for d in speed.deliveries] == list(MICRO_BATCH_SIZES)
    for delivery in speed.deliveries:
        assert delivery.gb_per_s == pytest.approx(delivery.rows_per_s * speed.row_bytes / 1e9)
        assert 0 < delivery.of_reading.low <= delivery.of_reading.high


def test_the_document_holds_everything(speed):
    document = speed.to_document()

    assert document["deliveries"][0]["of_reading"].keys() == {"median", "low", "high"}
