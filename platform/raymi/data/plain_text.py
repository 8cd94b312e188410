"""Plain text as rows: non-blank lines, or windows of so many characters; in order."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from raymi.data.formats import decode, empty, read_bytes

TEXT_COLUMN = "text"


_SHORTEST_ROW = 2
"""Characters of a last window that is kept: of one alone, nothing could be predicted."""


def read_text(path: Path, *, skip_rows: int, window: int | None = None) -> pa.Table:
    """Read a UTF-8 file into one column, `text`.

    Args:
        path: The file.
        skip_rows: Lines to drop first.
        window: Characters in a row, line ends included: rows put end to end are the file, but
            for a single last character. None: each line with text is a row, without its end.

    Raises:
        DataError: The file is not UTF-8 or has no text.
    """
    # Not str.splitlines: it also splits at form feeds and other separators inside text.
    lines = decode(read_bytes(path), path).split("\n")[skip_rows:]
    if window is None:
        rows = [line.rstrip("\r") for line in lines if line.strip()]
    else:
        text = "\n".join(lines)
        rows = [text[first : first + window] for first in range(0, len(text), window)]
        if rows and len(rows[-1]) < _SHORTEST_ROW:
            rows.pop()
    if not rows:
        raise empty(path)
    return pa.table({TEXT_COLUMN: pa.array(rows, type=pa.string())})
