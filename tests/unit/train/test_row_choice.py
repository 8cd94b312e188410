"""Which way rows come is decided by what was asked for, then by what a node's memory holds."""

import pytest

from raymi.specs.rows import RowSourceName, RowsSpec
from raymi.train.row_choice import choose_row_source

GIB = 1 << 30


@pytest.mark.parametrize(
    ("dataset_gib", "fraction", "expected"),
    [(4, 0.5, "memory_map"), (5, 0.5, "stream"), (5, 1.0, "memory_map"), (0, 0.1, "memory_map")],
)
def test_by_itself_it_streams_what_takes_more_than_its_share_of_memory(
    dataset_gib, fraction, expected
):
    spec = RowsSpec(max_memory_fraction=fraction)

    chosen = choose_row_source(spec, dataset_bytes=dataset_gib * GIB, node_memory_bytes=8 * GIB)

    assert chosen == expected


@pytest.mark.parametrize("asked", [RowSourceName.MEMORY_MAP, RowSourceName.STREAM])
@pytest.mark.parametrize("dataset_gib", [1, 100])
def test_what_was_asked_for_is_done(asked, dataset_gib):
    spec = RowsSpec(source=asked)

    chosen = choose_row_source(spec, dataset_bytes=dataset_gib * GIB, node_memory_bytes=8 * GIB)

    assert chosen == asked
