"""Rows are cut into parts the same way every time, and only what is missing is done again."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.serve.batch.parts import (
    Part,
    PartReceipt,
    Piece,
    Published,
    cut,
    readings,
    resume,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PARTS = cut(25, 10)


def receipt(part: Part, **changes) -> PartReceipt:
    facts = {
        "index": part.index,
        "first_row": part.first,
        "num_rows": part.num_rows,
        "num_failed": 0,
        "sha256": f"sha of {part.index}",
        "num_bytes": 100,
        "finished_at": NOW,
    }
    return PartReceipt(**{**facts, **changes})


def intact(part: Part) -> Published:
    return Published(num_bytes=100, sha256=f"sha of {part.index}")


@given(st.integers(0, 5000), st.integers(1, 700))
def test_every_row_is_in_exactly_one_part(num_rows, rows_per_part):
    parts = cut(num_rows, rows_per_part)

    rows = [row for part in parts for row in range(part.first, part.end)]
    assert rows == list(range(num_rows))
    assert all(part.num_rows == rows_per_part for part in parts[:-1])


def test_no_rows_are_one_empty_part():
    assert cut(0, 10) == (Part(0, 0, 0),)


def test_parts_are_named_so_that_they_sort():
    assert [part.name for part in PARTS] == ["part-00000", "part-00001", "part-00002"]


def test_a_part_whose_file_is_what_was_published_is_not_made_again():
    first, second, third = PARTS

    left = resume(PARTS, {0: receipt(first)}, {0: intact(first)})

    assert left.done == (receipt(first),)
    assert left.missing == (second, third)
    assert not left.damaged


@pytest.mark.parametrize(
    ("written", "published", "why"),
    [
        ({}, None, "gone"),
        ({}, Published(99, "sha of 1"), "99 bytes instead of 100"),
        ({}, Published(100, "sha of something else"), "sha256"),
        ({"first_row": 20}, Published(100, "sha of 1"), "other rows"),
        ({"num_rows": 9}, Published(100, "sha of 1"), "other rows"),
    ],
)
def test_a_part_that_is_not_what_was_published_is_made_again_and_said_to_be_damaged(
    written, published, why
):
    part = PARTS[1]
    files = {} if published is None else {1: published}

    left = resume(PARTS, {1: receipt(part, **written)}, files)

    assert left.missing == PARTS
    assert why in left.damaged[1]


def test_a_file_without_a_receipt_is_made_again_without_a_word():
    left = resume(PARTS, {}, {0: intact(PARTS[0])})

    assert left.missing == PARTS
    assert not left.damaged


@given(st.sets(st.integers(0, 9)))
def test_every_part_is_either_done_or_missing(finished):
    parts = cut(95, 10)
    receipts = {i: receipt(parts[i]) for i in finished}

    left = resume(parts, receipts, {i: intact(parts[i]) for i in finished})

    assert {r.index for r in left.done} == finished
    assert [part.index for part in left.missing] == sorted(set(range(10)) - finished)


def pieces_of(sizes, *, starts_anywhere) -> list[Piece]:
    firsts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [Piece(first, n, starts_anywhere) for first, n in zip(firsts, sizes, strict=True)]


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=20),
    st.integers(1, 50),
    st.booleans(),
    st.data(),
)
def test_readings_hold_each_missing_part_once_and_begin_no_later_than_it(
    sizes, rows_per_part, starts_anywhere, data
):
    parts = cut(sum(sizes), rows_per_part)
    missing = [part for part in parts if data.draw(st.booleans())]

    found = readings(missing, pieces_of(sizes, starts_anywhere=starts_anywhere))

    assert [part for reading in found for part in reading.parts] == missing
    assert all(reading.start <= reading.parts[0].first for reading in found)
    assert all(a.parts[-1].end <= b.parts[0].first for a, b in pairwise(found))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(1, 50))
def test_rows_that_are_reached_one_after_another_are_read_twice_at_most(sizes, rows_per_part):
    num_rows = sum(sizes)
    found = readings(cut(num_rows, rows_per_part), pieces_of(sizes, starts_anywhere=False))

    times_read = [0] * num_rows
    for reading in found:
        for row in range(reading.start, reading.parts[-1].end):
            times_read[row] += 1

    assert set(times_read) <= {1, 2}


def test_where_reading_starts_anywhere_every_part_is_read_by_itself():
    found = readings(PARTS, pieces_of([25], starts_anywhere=True))

    assert [(reading.start, reading.parts) for reading in found] == [
        (0, PARTS[:1]),
        (10, PARTS[1:2]),
        (20, PARTS[2:]),
    ]


def test_parts_of_one_text_file_are_read_together():
    [reading] = readings(PARTS, pieces_of([25], starts_anywhere=False))

    assert (reading.start, reading.parts) == (0, PARTS)
