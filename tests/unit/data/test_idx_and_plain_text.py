"""IDX files become tensors and labels, plain text becomes lines; damage is refused by name."""

import gzip

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.data.idx import read_idx
from raymi.data.plain_text import read_text
from raymi.data.reading import read_source
from raymi.errors import DataError, SpecError
from raymi.specs.data import CsvSpec, SourceSpec

IMAGES = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
LABELS = np.array([1, 0, 1, 9], dtype=np.uint8)


def test_images_and_labels_keep_shape_type_and_order(write_idx):
    images = write_idx("images-idx3-ubyte.gz", IMAGES)

    table = read_idx(images, write_idx("labels-idx1-ubyte", LABELS))

    assert table["image"].type == pa.fixed_shape_tensor(pa.uint8(), [2, 3])
    assert (table["image"].combine_chunks().to_numpy_ndarray() == IMAGES).all()
    assert table["label"].to_pylist() == [1, 0, 1, 9]


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "f4", "f8"])
def test_every_value_type_is_read_in_native_byte_order(write_idx, dtype):
    values = (IMAGES - 12.0).astype(dtype)

    column = read_idx(write_idx("images.idx", values), None)["image"]

    assert (column.combine_chunks().to_numpy_ndarray() == values).all()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "truncated or damaged"),
        (lambda content: content + b"\0", "truncated or damaged"),
        (lambda content: content[:9], "header is cut short"),
        (lambda content: b"\1" + content[1:], "not an IDX file"),
        (lambda content: b"PNG" + content[3:], "not an IDX file"),
        (lambda content: content[:2] + b"\x0a" + content[3:], "not an IDX file"),
        (lambda content: gzip.compress(content)[:-4], "damaged gzip"),
        (lambda content: content[:0], "no rows"),
    ],
)
def test_a_damaged_idx_file_is_refused(write_idx, damage, message):
    path = write_idx("images.idx", IMAGES)
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(DataError, match=f"(?s)images\\.idx.*{message}"):
        read_idx(path, None)


def test_there_must_be_one_label_per_image(write_idx):
    with pytest.raises(DataError, match=r"labels\.idx: not one label per image"):
        read_idx(write_idx("images.idx", IMAGES), write_idx("labels.idx", LABELS[:3]))


def test_labels_alone_are_not_images(write_idx):
    with pytest.raises(DataError, match="not images"):
        read_idx(write_idx("labels.idx", LABELS), None)


def test_text_becomes_one_row_per_line_in_order_without_blank_lines(write):
    path = write("play.txt", "\ufeffFirst,\r\n\n  second\f page\n \nthird")

    rows = read_text(path, skip_rows=0)["text"].to_pylist()

    assert rows == ["First,", "  second\f page", "third"]


@pytest.mark.parametrize(
    ("content", "message"), [("", "no rows"), ("\n \n", "no rows"), (b"a\nb\xff\n", "line 2")]
)
def test_text_without_rows_or_that_is_not_utf8_is_refused(write, content, message):
    with pytest.raises(DataError, match=f"play\\.txt: {message}"):
        read_text(write("play.txt", content), skip_rows=0)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\ufeff"), min_size=2, max_size=60)


@given(TEXTS, st.integers(2, 70))
def test_windows_end_to_end_are_the_file(tmp_path_factory, text, window):
    path = tmp_path_factory.mktemp("text") / "play.txt"
    path.write_bytes(text.encode())

    rows = read_text(path, skip_rows=0, window=window)["text"].to_pylist()

    is_one_left = len(text) % window == 1
    assert "".join(rows) == (text[:-1] if is_one_left else text)
    assert all(len(row) == window for row in rows[:-1])
    assert 2 <= len(rows[-1]) <= window


def test_windows_begin_after_the_lines_to_skip(write):
    path = write("play.txt", "title\n\nab\r\ncd\n")

    rows = read_text(path, skip_rows=2, window=3)["text"].to_pylist()

    assert rows == ["ab\r", "\ncd"]


def test_only_text_is_cut_into_windows(write):
    path = write("rows.csv", "a,b\n1,2\n")

    with pytest.raises(SpecError, match="`window` is for plain text"):
        read_source(SourceSpec(path=path.name, window=8), root=path.parent, csv=CsvSpec())
