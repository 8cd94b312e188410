"""A 64-bit hash of every row, from its values alone.

A row's hash does not depend on other rows, on the order of columns or rows, on chunking, or
on how wide its integers are stored: `3` as int8, int64 and float64 is the same value. Mixing
is the finaliser of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
Generators, 2014; constants from Vigna's public-domain splitmix64.c).
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymi.data.tensors import tensor_shape, tensor_view

_BLOCK_ROWS = 4096
_EXACT_INTEGERS = 2**53
"""Up to here every integer is a float64."""


def text_hash(text: str) -> np.uint64:
    """64 bits of BLAKE2b."""
    return _bytes_hash(text.encode())


def mix(values: np.ndarray) -> np.ndarray:
    """Scramble uint64 values one by one; a bijection."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def row_hashes(table: pa.Table) -> np.ndarray:
    """Return (N,) uint64."""
    total = np.zeros(table.num_rows, dtype=np.uint64)
    for name in table.column_names:
        parts = [_values_hash(chunk) for chunk in table.column(name).chunks if len(chunk)]
        # A sum over columns, each keyed by its name, has no order.
        total += mix(np.concatenate(parts) ^ text_hash(name))
    return mix(total)


def _values_hash(array: pa.Array) -> np.ndarray:
    data_type = array.type
    missing = text_hash("null")
    if pa.types.is_null(data_type):
        return np.full(len(array), missing)
    if tensor_shape(data_type):
        return _tensor_hash(tensor_view(pa.chunked_array([array]), tensor_shape(data_type)))
    is_text = pa.types.is_string(data_type)
    hashes = _text_hashes(array) if is_text else mix(_number_bits(array))
    if array.null_count:
        hashes = np.where(array.is_null().to_numpy(zero_copy_only=False), missing, hashes)
    return hashes


def _text_hashes(array: pa.Array) -> np.ndarray:
    encoded = array.dictionary_encode()
    distinct = np.array(
        [text_hash(text) for text in encoded.dictionary.to_pylist()] or [np.uint64(0)]
    )
    hashes: np.ndarray = distinct[encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)]
    return hashes


def _number_bits(array: pa.Array) -> np.ndarray:
    """Numbers as the bits of their float64; integers that have none as their own bits."""
    if pa.types.is_temporal(array.type):
        array = integer_view(array)
    if pa.types.is_boolean(array.type):
        array = pc.cast(array, pa.uint8())
    values: np.ndarray = array.fill_null(0).to_numpy(zero_copy_only=False)
    # Adding zero turns -0.0 into 0.0, which is equal to it.
    bits = (values.astype(np.float64) + 0.0).view(np.uint64)
    if values.dtype.itemsize < 8 or values.dtype.kind == "f":
        return bits
    is_exact = (values <= _EXACT_INTEGERS) & (values >= -_EXACT_INTEGERS)
    kept: np.ndarray = np.where(is_exact, bits, values.view(np.uint64))
    return kept


def integer_view(array: pa.Array) -> pa.Array:
    """Dates, times and durations as the integers they are stored as."""
    return array.view(pa.int32() if array.type.bit_width == 32 else pa.int64())


def _tensor_hash(values: np.ndarray) -> np.ndarray:
    rows = np.ascontiguousarray(values.reshape(len(values), -1))
    octets = rows.view(np.uint8).reshape(len(rows), -1)
    num_words = -(-octets.shape[1] // 8)
    keys = mix(np.arange(num_words, dtype=np.uint64))
    hashes = np.empty(len(rows), dtype=np.uint64)
    for first in range(0, len(rows), _BLOCK_ROWS):
        block = octets[first : first + _BLOCK_ROWS]
        padded = np.zeros((len(block), num_words * 8), dtype=np.uint8)
        padded[:, : block.shape[1]] = block
        words = mix(padded.view(np.uint64) ^ keys)
        hashes[first : first + len(block)] = words.sum(axis=1, dtype=np.uint64)
    return mix(hashes)


def _bytes_hash(content: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little"))
