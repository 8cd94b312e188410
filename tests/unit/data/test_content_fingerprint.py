"""Equal content has an equal fingerprint however it is stored; any changed value changes it."""

import gzip
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.data import stage
from raymi.data.fingerprint import content_fingerprint
from raymi.specs.data import DataSpec, Split

ROWS = 200
COLUMNS = {
    "n": [None if i == 5 else i for i in range(ROWS)],
    "x": [i / 8 for i in range(ROWS)],
    "s": [None if i == 7 else f"row {i}" for i in range(ROWS)],
    "b": [i % 3 == 0 for i in range(ROWS)],
}
CSV = "n,x,s,b\n" + "".join(
    ",".join("" if value is None else str(value) for value in row) + "\n"
    for row in zip(*COLUMNS.values(), strict=True)
)


def fingerprint(table, target=None):
    return content_fingerprint(
        {Split.TRAIN: table, Split.VALIDATION: table[:2], Split.TEST: table[:1]}, target=target
    )


@given(st.lists(st.integers(0, ROWS), max_size=5))
def test_chunks_and_slices_do_not_matter(cuts):
    table = pa.table(COLUMNS)
    bounds = sorted({0, ROWS, *cuts})

    chunked = pa.concat_tables(table[first:last] for first, last in pairwise(bounds))

    assert fingerprint(chunked) == fingerprint(table)


def test_what_lies_under_a_null_does_not_matter():
    values, validity = pa.array([1, 2]).buffers()[1], pa.array([1, None]).buffers()[0]
    hidden = pa.Array.from_buffers(pa.int64(), 2, [validity, values])

    assert fingerprint(pa.table({"n": hidden})) == fingerprint(pa.table({"n": [1, None]}))


def test_formats_shards_and_paths_do_not_matter(tmp_path):
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    pq.write_table(pa.table(COLUMNS), tmp_path / "c.parquet", row_group_size=13)

    found = set()
    for index, file in enumerate(["a.csv", "b.csv.gz", "c.parquet"]):
        document = {"name": f"d{index}", "root": str(tmp_path), "sources": [{"path": file}],
                    "rows_per_shard": 50 + index}  # fmt: skip
        spec = DataSpec.from_document(document)
        found.add(stage.run(spec, store_dir=tmp_path / "store").fingerprint)

    assert len(found) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"n": [*range(ROWS)]},
        {"x": [i / 8 + (i == 199) for i in range(ROWS)]},
        {"s": [None if i == 7 else f"row {i}".replace("row 19", "row19 ") for i in range(ROWS)]},
        {"b": [i % 3 == 1 for i in range(ROWS)]},
        {"x": pa.array([i / 8 for i in range(ROWS)], pa.float32())},
    ],
)
def test_a_changed_value_or_type_changes_it(change):
    assert fingerprint(pa.table({**COLUMNS, **change})) != fingerprint(pa.table(COLUMNS))


def test_target_column_names_and_split_are_part_of_it():
    table = pa.table(COLUMNS)
    moved = {Split.TRAIN: table[:-1], Split.VALIDATION: table[-1:], Split.TEST: table[:1]}

    found = {
        fingerprint(table),
        fingerprint(table, target="n"),
        fingerprint(table.rename_columns(["m", "x", "s", "b"])),
        content_fingerprint(moved, target=None),
    }

    assert len(found) == 4


def test_text_that_moves_between_rows_changes_it():
    assert fingerprint(pa.table({"s": ["ab", "c"]})) != fingerprint(pa.table({"s": ["a", "bc"]}))
