"""Rows in any order out of arrays that lie in pieces, such as memory-mapped shards."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

_SHORT_ROW = 128
"""Bytes. A row of two cache lines is over before the next one has been asked for."""

_UNITS = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}
"""Widths that rows are copied in, in bytes."""


class ShardedArrays:
    """Arrays of the same rows, each in one piece per shard; never concatenated.

    A piece lies anywhere in this process's memory. Counted from the lowest one, each row is an
    offset, so that one gather reads them all, however many there are.

    Args:
        shards: For each shard the same names, with arrays of as many rows as each other. They
            are kept, not copied, and must be C-contiguous.
    """

    def __init__(self, shards: Sequence[Mapping[str, np.ndarray]]) -> None:
        num_rows = [len(next(iter(shard.values()))) for shard in shards]
        self._first_rows = np.cumsum([0, *num_rows[:-1]])
        self._rows_per_shard = num_rows[0]
        self._is_even = all(n == num_rows[0] for n in num_rows[:-1]) and num_rows[-1] <= num_rows[0]
        self.num_rows = sum(num_rows)
        self.columns = {
            name: _Column([shard[name] for shard in shards], self._first_rows) for name in shards[0]
        }

    def gather(self, rows: np.ndarray, out: Mapping[str, Tensor]) -> None:
        """Copy rows into tensors of `len(rows)` rows; only the names in `out`.

        Lets other threads run meanwhile, and uses as many as torch may.

        Args:
            rows: int64 (N,), each at least 0 and below `num_rows`.
            out: Contiguous CPU tensors.
        """
        shard = self._shard_of(rows)
        for name, tensor in out.items():
            self.columns[name].gather(rows, shard, tensor)

    def _shard_of(self, rows: np.ndarray) -> np.ndarray | None:
        if len(self._first_rows) == 1:
            return None
        if self._is_even:
            return rows // self._rows_per_shard
        return np.searchsorted(self._first_rows, rows, side="right") - 1


class _Column:
    """One name's pieces, addressed in units from the lowest address."""

    def __init__(self, pieces: list[np.ndarray], first_rows: np.ndarray) -> None:
        for piece in pieces:
            if not piece.flags.c_contiguous:
                raise ValueError("a piece is not C-contiguous")
        self.row_shape: tuple[int, ...] = pieces[0].shape[1:]
        self.dtype: torch.dtype = torch.from_numpy(np.empty(0, dtype=pieces[0].dtype)).dtype
        self.row_bytes = pieces[0].itemsize * math.prod(self.row_shape)
        filled = [index for index, piece in enumerate(pieces) if piece.size]
        self._pieces = pieces  # The addresses below are theirs.
        if not filled:
            return
        addresses = [pieces[index].ctypes.data for index in filled]
        lowest = min(addresses)
        end = max(pieces[index].ctypes.data + pieces[index].nbytes for index in filled)
        unit = next(u for u in _UNITS if not any(a % u for a in (self.row_bytes, *addresses)))
        self._unit = _UNITS[unit]
        self._width = self.row_bytes // unit
        # Between the pieces there may be nothing at all; no row points there.
        memory = (ctypes.c_uint8 * (end - lowest)).from_address(lowest)
        self._memory = units = torch.frombuffer(memory, dtype=self._unit)
        self._rows = (
            units
            if self._width == 1
            else units.as_strided((len(units) - self._width + 1, self._width), (1, 1))
        )
        self._shifts = np.zeros(len(pieces), dtype=np.int64)
        for index in filled:
            start = (pieces[index].ctypes.data - lowest) // unit
            self._shifts[index] = start - first_rows[index] * self._width

    def gather(self, rows: np.ndarray, shard: np.ndarray | None, out: Tensor) -> None:
        if len(rows) == 0:
            return
        offsets = rows * self._width
        if shard is not None:
            offsets += self._shifts[shard]
        places = torch.from_numpy(offsets)
        flat = out.view(len(rows), -1).view(self._unit)
        if self._width == 1:
            flat = flat.view(-1)
        elif self.row_bytes <= _SHORT_ROW:
            # Words are fetched many at a time, and bring the rows they begin into the cache.
            torch.index_select(self._memory, 0, places)
        torch.index_select(self._rows, 0, places, out=flat)
