"""Text becomes bytes, and what is to be predicted is the bytes one place further on."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from raymi.data.encoding import IGNORED, byte_values, next_byte_targets
from raymi.data.preprocessing import BytesFeature, NextByteTarget, Preprocessing

LENGTH = 7
TEXTS = st.lists(st.none() | st.text(max_size=12), max_size=9)
PREPROCESSING = Preprocessing(
    features=(BytesFeature(column="line", max_bytes=LENGTH),), target=NextByteTarget(column="line")
)


def encoded_one_by_one(texts, max_bytes):
    rows = [(text or "").encode().replace(b"\0", b"\1")[:max_bytes] for text in texts]
    return np.array([list(row.ljust(max_bytes, b"\0")) for row in rows], dtype=np.uint8).reshape(
        len(texts), max_bytes
    )


@given(TEXTS, st.integers(1, 15))
def test_bytes_are_those_of_utf8_cut_off_and_padded(texts, max_bytes):
    column = pa.chunked_array([pa.array(texts, pa.string())])

    found = byte_values(column, max_bytes=max_bytes)

    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, encoded_one_by_one(texts, max_bytes))


@given(TEXTS, st.integers(0, 9), st.integers(0, 9))
def test_slices_and_chunks_of_a_column_are_read_like_the_column(texts, first, size):
    column = pa.chunked_array([pa.array(texts, pa.string())] * 2)

    found = byte_values(column.slice(first, size), max_bytes=LENGTH)

    expected = encoded_one_by_one((texts * 2)[first : first + size], LENGTH)
    np.testing.assert_array_equal(found, expected)


def test_what_a_missing_text_left_behind_in_memory_is_not_read():
    offsets, data = pa.py_buffer(np.array([0, 3, 5], dtype=np.int32)), pa.py_buffer(b"oldok")
    validity = pa.py_buffer(np.packbits([0, 1], bitorder="little"))
    texts = pa.Array.from_buffers(pa.string(), 2, [validity, offsets, data])

    found = byte_values(pa.chunked_array([texts]), max_bytes=3)

    assert [bytes(row) for row in found] == [b"\0\0\0", b"ok\0"]


def test_more_rows_than_a_block_keep_their_order():
    texts = [str(i) for i in range(10_000)]

    found = byte_values(pa.chunked_array([texts]), max_bytes=4)

    assert [bytes(row).rstrip(b"\0").decode() for row in found] == texts


@given(st.lists(st.text(max_size=12), min_size=1, max_size=6))
def test_the_target_of_each_byte_is_the_one_after_it(texts):
    table = pa.table({"line": texts})

    targets = PREPROCESSING.encode_target(table)

    octets = PREPROCESSING.encode(table)["bytes:line"]
    assert targets.dtype == np.int16
    for row, text in enumerate(texts):
        content = text.encode().replace(b"\0", b"\1")[:LENGTH]
        followed = [*content[1:], *[IGNORED] * (LENGTH - max(len(content) - 1, 0))]
        assert targets[row].tolist() == followed
        assert bytes(octets[row]).rstrip(b"\0") == content


def test_bytes_go_to_the_network_as_indices():
    table = pa.table({"line": ["To be"]})

    inputs = PREPROCESSING.prepare(PREPROCESSING.encode(table))

    assert inputs["bytes:line"].dtype == np.int64
    assert inputs["bytes:line"].tolist() == [[84, 111, 32, 98, 101, 0, 0]]


def test_a_row_of_one_byte_has_nothing_to_predict():
    assert (next_byte_targets(np.array([[65, 0, 0]], dtype=np.uint8)) == IGNORED).all()


def test_bytes_are_named_by_their_characters():
    target = NextByteTarget(column="line")

    assert target.labels([32, 101, 0xE2]) == [" ", "e", "\\xe2"]
    assert len(set(target.labels(range(256)))) == 256


def test_it_survives_being_written_down(tmp_path):
    PREPROCESSING.save(tmp_path / "preprocessing.json")

    assert Preprocessing.load(tmp_path / "preprocessing.json") == PREPROCESSING
