"""From what a user points at, a file or a directory, to the sources of a DataSpec.

In a directory, files whose names start with `train`, `test` (or `t10k`) or `validation`
(`val`, `dev`) say their split, and only those are taken. Without such names all data files
are taken together. IDX images are paired with their labels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from raymi.data.formats import format_of, missing
from raymi.errors import DataError
from raymi.specs.data import FileFormat, SourceSpec, Split

_SPLIT_NAMES = {
    Split.TRAIN: ("train", "training"),
    Split.VALIDATION: ("validation", "valid", "val", "dev"),
    Split.TEST: ("test", "t10k"),
}
_SPLIT_OF = {name: split for split, names in _SPLIT_NAMES.items() for name in names}
_FIRST_WORD = re.compile(r"[a-z]+(?:10k)?(?![a-z])")
_DOCUMENTS = re.compile(r"(readme|licen[cs]e|notice|changelog|citation|copying)\b", re.IGNORECASE)


def find_sources(path: Path, file_format: FileFormat | None = None) -> tuple[SourceSpec, ...]:
    """Sources relative to `path`'s directory (or to `path`, if it is one), in a fixed order.

    Args:
        path: A data file, or a directory of data files.
        file_format: How to read them; None tells it from their names.

    Raises:
        NotFoundError: There is nothing at `path`.
        DataError: The directory holds no data files, or it is not clear which to take.
    """
    if not path.exists():
        raise missing(path)
    if path.is_file():
        return (SourceSpec(path=path.name, format=file_format),)
    names = sorted(file.name for file in path.iterdir() if file.is_file())
    formats = {name: file_format or format_of(name) for name in names if _is_data(name)}
    data = {name: told for name, told in formats.items() if told is not None}
    splits = {name: split for name in data if (split := split_of(name))}
    if splits:
        data = {name: told for name, told in data.items() if name in splits}
        if Split.TRAIN not in splits.values():
            raise DataError(
                f"{path}: no file of training rows",
                why=f"{', '.join(splits)} say their split, and none is `train`",
                fix="import one file, with --test and --validation for the others",
            )
    sources = [
        SourceSpec(path=name, format=file_format, split=splits.get(name), labels=labels)
        for name, labels in _with_labels(path, _one_format(path, data))
    ]
    order = list(Split)
    return tuple(sorted(sources, key=lambda s: order.index(s.split) if s.split else 0))


def split_of(name: str) -> Split | None:
    """The split that a file name starts with.

    >>> split_of("t10k-images-idx3-ubyte.gz").value, split_of("training.csv").value
    ('test', 'train')
    >>> split_of("testimony.txt") is None
    True
    """
    word = _FIRST_WORD.match(name.lower())
    return _SPLIT_OF.get(word.group()) if word else None


def _is_data(name: str) -> bool:
    return not name.startswith(".") and not _DOCUMENTS.match(name)


def _one_format(path: Path, data: dict[str, FileFormat]) -> list[str]:
    """The files to take; text only counts if there is nothing else, for it may be a note."""
    formats = set(data.values()) - {FileFormat.TEXT} or set(data.values())
    if len(formats) == 1:
        return [name for name in data if data[name] in formats]
    if not formats:
        raise DataError(
            f"{path}: no data files",
            why="no file name ends in .parquet, .csv, .tsv, .arrow, .feather, -ubyte or .txt",
            fix="pass a file and its --format, or a --spec that lists the sources",
        )
    examples = [next(name for name in data if data[name] is told) for told in sorted(formats)]
    raise DataError(
        f"{path}: files of several formats",
        why=f"it holds {', '.join(examples)} and it is not clear which to import",
        fix="pass one file, or a --spec that lists the sources",
    )


def _with_labels(path: Path, names: Sequence[str]) -> list[tuple[str, str | None]]:
    """Pair IDX images with their labels, which are no source of their own."""
    images = [name for name in names if format_of(name) is FileFormat.IDX and "images" in name]
    pairs = {}
    for name in images:
        labels = name.replace("images", "labels").replace("idx3", "idx1")
        candidates = [labels, labels.removesuffix(".gz"), f"{labels}.gz"]
        pairs[name] = next((label for label in candidates if label in names), None)
        if pairs[name] is None:
            raise DataError(
                f"{path / name}: images without labels",
                why=f"{labels} is not beside it",
                fix=f"put the labels there, or import the file by itself: {path / name}",
            )
    taken = set(pairs.values())
    return [(name, pairs.get(name)) for name in names if name not in taken]
