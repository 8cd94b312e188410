"""Small files and datasets that the tests of the data stage share."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymi.data import stage
from raymi.data.version import DatasetVersion
from raymi.specs.data import DataSpec

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write text, bytes or an Arrow table (as Parquet) into a file and return its path."""

    def write(name: str, content: str | bytes | pa.Table) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def write_idx(write: Write) -> Write:
    """Write an array as an IDX file, gzipped if the name says so."""

    def write_idx(name: str, values: np.ndarray) -> Path:
        codes = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
        code = codes[values.dtype.str[1:]]
        header = bytes([0, 0, code, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
        content = header + values.astype(values.dtype.newbyteorder(">")).tobytes()
        return write(name, gzip.compress(content) if name.endswith(".gz") else content)

    return write_idx


@pytest.fixture
def import_table(tmp_path: Path, write: Write) -> Callable[..., DatasetVersion]:
    """Import a table through Parquet into `tmp_path / "store"`."""

    def import_table(
        columns: dict[str, object] | pa.Table, *, target: str | None = None, **fields: object
    ) -> DatasetVersion:
        if not isinstance(columns, pa.Table):
            columns = pa.table({name: pa.array(values) for name, values in columns.items()})
        write("table.parquet", columns)
        document = {
            "name": "example",
            "root": str(tmp_path),
            "sources": [{"path": "table.parquet"}],
            "target": target,
            **fields,
        }
        return stage.run(DataSpec.from_document(document), store_dir=tmp_path / "store")

    return import_table
