"""Which format a file has, and its bytes, unpacked and complete."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from raymi.errors import DataError, NotFoundError
from raymi.specs.data import FileFormat

_GZIP_MAGIC = b"\x1f\x8b"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_HEAD_BYTES = 1024

_SUFFIXES = {
    ".parquet": FileFormat.PARQUET,
    ".pq": FileFormat.PARQUET,
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.CSV,
    ".arrow": FileFormat.ARROW,
    ".arrows": FileFormat.ARROW,
    ".feather": FileFormat.ARROW,
    ".ipc": FileFormat.ARROW,
    ".idx": FileFormat.IDX,
    ".txt": FileFormat.TEXT,
}


def format_of(name: str) -> FileFormat | None:
    """Tell the format from a file name; None if the name does not say.

    >>> format_of("train.csv.gz").value, format_of("t10k-images-idx3-ubyte.gz").value
    ('csv', 'idx')
    """
    bare = name.lower().removesuffix(".gz")
    if bare.endswith("-ubyte"):
        return FileFormat.IDX
    return _SUFFIXES.get(Path(bare).suffix)


def read_bytes(path: Path) -> bytes:
    """Read a whole file, gunzipped if it is gzip.

    Raises:
        NotFoundError: There is no such file.
        DataError: It cannot be read, is empty, or is damaged gzip.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise missing(path) from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read",
            why=error.strerror or str(error),
            fix="check the path and its permissions",
        ) from error
    if content.startswith(_GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{path}: damaged gzip file",
                why=f"unpacking failed: {error}",
                fix="copy or download it again: it is probably cut short",
            ) from error
    if not content:
        raise empty(path)
    return content


def missing(path: Path) -> NotFoundError:
    """The error for a file that is not there."""
    return NotFoundError(
        f"{path}: no such file",
        why="the source does not exist",
        fix="check the path; source paths are relative to the spec's `root`",
    )


def empty(path: Path) -> DataError:
    """The error for a file without rows."""
    return DataError(
        f"{path}: no rows",
        why="the file is empty or has only a header",
        fix="pass a file with at least one row",
    )


def decode(content: bytes, path: Path) -> str:
    """Decode UTF-8, with or without a byte-order mark.

    Raises:
        DataError: With the line of the first byte that is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if b"\0" in content[:_HEAD_BYTES] and not content.startswith(_UTF16_MARKS):
            raise DataError(
                f"{path}: not a text file",
                why="it holds binary data",
                fix="check the path, or say what it is with `format` (--format)",
            ) from error
        line = content.count(b"\n", 0, error.start) + 1
        encoding = "UTF-16" if content.startswith(_UTF16_MARKS) else "ISO-8859-1"
        raise DataError(
            f"{path}: line {line} is not UTF-8 text",
            why=f"byte 0x{content[error.start]:02x} at offset {error.start} cannot be decoded",
            fix=f"convert it: iconv -f {encoding} -t UTF-8, or whichever encoding it has",
        ) from error
