"""Plain text as rows: one row per non-blank line, in order."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from raymi.data.formats import decode, empty, read_bytes

TEXT_COLUMN = "text"


def read_text(path: Path, *, skip_rows: int) -> pa.Table:
    """Read a UTF-8 file into one column, `text`; line ends are not part of it.

    Raises:
        DataError: The file is not UTF-8 or has no lines with text.
    """
    # Not str.splitlines: it also splits at form feeds and other separators inside text.
    lines = decode(read_bytes(path), path).split("\n")[skip_rows:]
    rows = [line.rstrip("\r") for line in lines if line.strip()]
    if not rows:
        raise empty(path)
    return pa.table({TEXT_COLUMN: pa.array(rows, type=pa.string())})
