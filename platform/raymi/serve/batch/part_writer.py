"""Rows in order, into one Parquet file for each part, published when it is whole."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raymi.errors import IntegrityError, RaymiError
from raymi.serve.batch.contract import ERROR, ROW
from raymi.serve.batch.parts import Part, PartReceipt
from raymi.serve.batch.workspace import Workspace, sha256_of

_ROW_GROUP_BYTES = 32 << 20

Publish = Callable[[Part, PartReceipt], None]


class PartWriter:
    """Takes the predictions of the missing parts as they come, which must be in order.

    Args:
        workspace: Where parts go.
        parts: The missing ones, in order.
        schema: Of the predictions.
        metadata: Written into every file.
        publish: Told of each part that is published.
    """

    def __init__(
        self,
        workspace: Workspace,
        parts: Sequence[Part],
        *,
        schema: pa.Schema,
        metadata: Mapping[str, str],
        publish: Publish,
    ) -> None:
        self._workspace = workspace
        self._waiting = deque(parts)
        self._schema = schema
        self._metadata = dict(metadata)
        self._publish = publish
        self._open: _OpenPart | None = None

    def add(self, rows: pa.Table) -> None:
        """Write rows; they may belong to several parts.

        Raises:
            IntegrityError: A row is not the one whose turn it is.
            RaymiError: The disk is full, or cannot be written.
        """
        while rows.num_rows:
            if self._open is None:
                self._begin()
            if self._open is None:
                raise _out_of_order("more rows came than are missing")
            taken = rows.slice(0, self._open.num_wanted)
            self._write(self._open, taken)
            rows = rows.slice(taken.num_rows)

    def finish(self) -> None:
        """Publish parts without rows, and check that nothing is missing.

        Raises:
            IntegrityError: Rows did not come.
        """
        while self._open is None and self._waiting and self._waiting[0].num_rows == 0:
            self._begin()
        if self._open is not None or self._waiting:
            raise _out_of_order("the rows ended before the last part was full")

    def abandon(self) -> None:
        """Remove what is half written."""
        if self._open is not None:
            self._open.abandon()
            self._open = None

    def _begin(self) -> None:
        if not self._waiting:
            return
        part = self._waiting.popleft()
        path = self._workspace.part_path(part)
        metadata = {**self._metadata, "raymi.rows": f"{part.first}-{part.end}"}
        with _naming(path):
            self._open = _OpenPart(part, path, self._schema.with_metadata(metadata))
        if part.num_rows == 0:
            self._end(self._open)

    def _write(self, part: _OpenPart, rows: pa.Table) -> None:
        with _naming(part.path):
            part.write(rows)
        if part.num_wanted == 0:
            self._end(part)

    def _end(self, part: _OpenPart) -> None:
        with _naming(part.path):
            receipt = part.publish()
            self._workspace.keep_receipt(part.part, receipt)
        self._open = None
        self._publish(part.part, receipt)


class _OpenPart:
    """A file that is being written under a name nobody looks at."""

    def __init__(self, part: Part, path: Path, schema: pa.Schema) -> None:
        self.part = part
        self.path = path
        self.num_wanted = part.num_rows
        self._temporary = path.with_name(f".{path.name}")
        self._schema = schema
        self._pending: list[pa.Table] = []
        self._pending_bytes = 0
        self._num_failed = 0
        self._file = pq.ParquetWriter(self._temporary, schema, compression="zstd")

    def write(self, rows: pa.Table) -> None:
        first = self.part.end - self.num_wanted
        expected = np.arange(first, first + rows.num_rows)
        if not np.array_equal(rows.column(ROW).to_numpy(), expected):
            raise _out_of_order(f"row {first} was expected, {rows.column(ROW)[0]} came")
        self._num_failed += rows.num_rows - rows.column(ERROR).null_count
        self.num_wanted -= rows.num_rows
        self._pending.append(rows)
        self._pending_bytes += rows.nbytes
        if self._pending_bytes >= _ROW_GROUP_BYTES:
            self._flush()

    def publish(self) -> PartReceipt:
        """Move the whole file into place; durable once this returns."""
        self._flush()
        self._file.close()
        with self._temporary.open("rb") as file:
            os.fsync(file.fileno())
        receipt = PartReceipt(
            index=self.part.index,
            first_row=self.part.first,
            num_rows=self.part.num_rows,
            num_failed=self._num_failed,
            sha256=sha256_of(self._temporary),
            num_bytes=self._temporary.stat().st_size,
            finished_at=datetime.now(UTC),
        )
        self._temporary.replace(self.path)
        handle = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        return receipt

    def abandon(self) -> None:
        # Closing writes the footer, for which there may be no room either.
        with contextlib.suppress(OSError, pa.ArrowException):
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._pending:
            rows = pa.concat_tables(self._pending).replace_schema_metadata(self._schema.metadata)
            self._file.write_table(rows, row_group_size=max(1, rows.num_rows))
            self._pending, self._pending_bytes = [], 0


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn the errors of a disk into ones that say what is to be done."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> RaymiError:
    """The error for a disk that is full, gone or forbidden."""
    return RaymiError(
        f"{path}: cannot be written",
        why=error.strerror or " ".join(str(error).split())[:300],
        fix="make room or correct the permissions; the same command then goes on with the "
        "missing parts",
    )


def _out_of_order(why: str) -> IntegrityError:
    return IntegrityError(
        "predictions do not belong to the rows whose turn it is",
        why=why,
        fix="start the same command again: only whole parts were published",
    )
