"""One column at a time, from Arrow to the compact arrays that preprocessing works on.

A category is looked up by its text, and that text is the same wherever the value comes
from: `3` (any integer type) and `3.0` are "3", truth values are "true" and "false".
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymi.errors import DataError

_WORD = re.compile(r"\w+|[^\w\s]")
_PIECE_LENGTHS = (3, 4)
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_SECONDS_PER_DAY = 86_400.0
_BLOCK_ROWS = 4096
_NUL, _START_OF_HEADING = 0, 1

IGNORED = -100
"""A target that is none: padding, or nothing follows. PyTorch's own default for that."""


def number_values(column: pa.ChunkedArray) -> np.ndarray:
    """Numbers as float64, NaN where missing; times as seconds (dates: since 1970, UTC)."""
    scale = 1.0
    if pa.types.is_temporal(column.type):
        scale = _unit_s(column.type)
        column = pc.cast(column, pa.int32() if column.type.bit_width == 32 else pa.int64())
    # safe=False: integers beyond 2^53 are rounded, not refused.
    values = pc.fill_null(pc.cast(column, pa.float64(), safe=False), float("nan")).to_numpy()
    scaled: np.ndarray = values if scale == 1.0 else values * scale
    return scaled


def _unit_s(data_type: pa.DataType) -> float:
    if pa.types.is_date32(data_type):
        return _SECONDS_PER_DAY
    return _SECONDS["ms" if pa.types.is_date64(data_type) else data_type.unit]


def category_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The text under which a value is looked up in a vocabulary."""
    if not pa.types.is_floating(column.type):
        return pc.cast(column, pa.string())
    # Arrow writes 1e10 for a float and 10000000000 for an integer.
    is_whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**53))
    whole = pc.cast(pc.if_else(is_whole, column, 0.0), pa.int64())
    return pc.if_else(is_whole, pc.cast(whole, pa.string()), pc.cast(column, pa.string()))


def category_indices(column: pa.ChunkedArray, vocabulary: tuple[str, ...]) -> np.ndarray:
    """Index of each value in the vocabulary, from 1; 0 is unknown or missing. int32."""
    indices = pc.index_in(category_text(column), value_set=pa.array(vocabulary, type=pa.string()))
    known: np.ndarray = pc.add(pc.fill_null(indices, -1), 1).to_numpy().astype(np.int32)
    return known


def value_text(value: str | int | bool) -> str:
    """The text of one value, as `category_text` writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def class_indices(
    column: pa.ChunkedArray, classes: tuple[str | int | bool, ...], *, name: str
) -> np.ndarray:
    """Index of each target in the classes; int64.

    Raises:
        DataError: A target is missing or no known class; with its row.
    """
    texts = tuple(value_text(value) for value in classes)
    indices = category_indices(column, texts).astype(np.int64) - 1
    if len(indices) and indices.min() < 0:
        row = int(np.argmin(indices))
        raise DataError(
            f"target {name!r}: row {row + 1} is {column[row].as_py()!r}",
            why=f"it is not one of the {len(classes)} classes the model was made for",
            fix="correct the row, or train again on data that has this class",
        )
    return indices


def number_targets(column: pa.ChunkedArray, *, mean: float, std: float, name: str) -> np.ndarray:
    """Standardised targets; float32.

    Raises:
        DataError: A target is missing; with its row.
    """
    values = number_values(column)
    if np.isnan(values).any():
        raise DataError(
            f"target {name!r}: row {int(np.argmax(np.isnan(values))) + 1} is missing",
            why="every row to learn from or to score needs a target",
            fix="leave rows without a target out",
        )
    standardised: np.ndarray = ((values - mean) / std).astype(np.float32)
    return standardised


def token_ids(
    column: pa.ChunkedArray, *, num_buckets: int, max_words: int, num_grams: int
) -> np.ndarray:
    """The first words of each text as hashes, (N, max_words, num_grams) int32; 0 is padding.

    A word is the hash of itself, of itself with the next word, and of its pieces of 3 and 4
    letters: misspelt and inflected words share most of them (Bojanowski et al., arXiv
    1607.04606).
    """
    tokens = np.zeros((len(column), max_words, num_grams), dtype=np.int32)
    for row, text in enumerate(column.to_pylist()):
        words = _WORD.findall((text or "").lower())[: max_words + 1]
        for place, word in enumerate(words[:max_words]):
            after = words[place + 1] if place + 1 < len(words) else ""
            pair = _bucket(f"{word} {after}", num_buckets)
            own, *pieces = _word_hashes(word, num_buckets)
            hashed = [own, pair, *pieces][:num_grams]
            tokens[row, place, : len(hashed)] = hashed
    return tokens


@lru_cache(maxsize=1 << 16)
def _word_hashes(word: str, num_buckets: int) -> tuple[int, ...]:
    """Buckets of a word and of its pieces, shorter ones first."""
    marked = f"<{word}>"
    pieces = chain.from_iterable(
        (marked[start : start + size] for start in range(len(marked) - size + 1))
        for size in _PIECE_LENGTHS
        if size < len(marked)
    )
    # A piece is not the word of the same letters.
    return tuple(_bucket(text, num_buckets) for text in (word, *(f"#{piece}" for piece in pieces)))


def _bucket(text: str, num_buckets: int) -> int:
    return 1 + zlib.crc32(text.encode()) % (num_buckets - 1)


def byte_values(column: pa.ChunkedArray, *, max_bytes: int) -> np.ndarray:
    """The first `max_bytes` bytes of each text in UTF-8, (N, max_bytes) uint8; 0 is padding.

    A missing text has no bytes. A NUL byte inside a text becomes 1, which no text needs either:
    0 must mean that the text is over.
    """
    values = np.zeros((len(column), max_bytes), dtype=np.uint8)
    row = 0
    for chunk in column.chunks:
        for first in range(0, len(chunk), _BLOCK_ROWS):
            block = chunk.slice(first, _BLOCK_ROWS)
            _fill_bytes(values[row : row + len(block)], block)
            row += len(block)
    return values


def _fill_bytes(values: np.ndarray, texts: pa.Array) -> None:
    _, offset_buffer, data_buffer = texts.buffers()
    if len(texts) == 0 or data_buffer is None:
        return
    offsets = np.frombuffer(offset_buffer, dtype=np.int32)
    offsets = offsets[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    lengths = np.minimum(np.diff(offsets), values.shape[1])
    if texts.null_count:
        lengths[texts.is_null().to_numpy(zero_copy_only=False)] = 0
    places = np.arange(values.shape[1])
    is_text = places < lengths[:, None]
    data = np.frombuffer(data_buffer, dtype=np.uint8)
    octets = data[(offsets[:-1, None] + places)[is_text]]
    values[is_text] = np.where(octets == _NUL, np.uint8(_START_OF_HEADING), octets)


def next_byte_targets(values: np.ndarray) -> np.ndarray:
    """What follows each byte of `byte_values`, (N, L) int16; `IGNORED` where nothing does."""
    targets = np.full(values.shape, IGNORED, dtype=np.int16)
    targets[:, :-1] = values[:, 1:]
    targets[targets == _NUL] = IGNORED
    return targets
