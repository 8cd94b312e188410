"""Stage 1: turn a DataSpec into a DatasetVersion, importing it unless that content is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from raymi.data.canonical import unify
from raymi.data.column_statistics import describe_column
from raymi.data.fingerprint import content_fingerprint
from raymi.data.idx import LABEL_COLUMN
from raymi.data.library import DATASET_FILE, dataset_dir, open_dataset
from raymi.data.reading import describe_source, read_source
from raymi.data.shards import write_shards
from raymi.data.splitting import SPLITS, assign_splits
from raymi.data.tensors import tensor_shape, type_text
from raymi.data.version import Column, DatasetVersion, SourceFile
from raymi.errors import ConflictError, DataError, IntegrityError, RaymiError, SpecError
from raymi.specs.data import DataSpec, Split
from raymi.specs.paths import closest
from raymi.store.artifacts import staging

Tables = dict[Split, pa.Table]


def run(spec: DataSpec, *, store_dir: Path) -> DatasetVersion:
    """Import the sources, or look the dataset up if the spec names none.

    Importing content that is there already returns the version that is there.

    Raises:
        DataError: A source is unusable; nothing was imported.
        NotFoundError: A source, or the dataset looked up, does not exist.
        SpecError: The target is not a column.
        ConflictError: The content is not the `version` that the spec pins.
        IntegrityError: The content was imported before, and has been damaged since.
        RaymiError: The store cannot be written; nothing was imported.
    """
    if not spec.sources:
        return _look_up(spec, store_dir)
    spec = _with_target(spec)
    root = Path(spec.root)
    tables = _read_all(spec, root)
    _check_target(spec, tables)
    declared = [source.split for source in spec.sources]
    splits = _by_split(tables, assign_splits(tables, declared, spec.split))
    fingerprint = content_fingerprint(splits, target=spec.target)
    _check_pin(spec, fingerprint)
    directory = dataset_dir(store_dir, spec.name, fingerprint)
    if not directory.exists():
        files = [
            file
            for source, table in zip(spec.sources, tables, strict=True)
            for file in describe_source(source, root=root, num_rows=table.num_rows)
        ]
        _publish(spec, splits, files, fingerprint=fingerprint, directory=directory)
    return _opened(spec.name, fingerprint, store_dir)


def _with_target(spec: DataSpec) -> DataSpec:
    """Images that came with a file of labels are there to predict the labels."""
    if spec.target is None and all(source.labels for source in spec.sources):
        return spec.model_copy(update={"target": LABEL_COLUMN})
    return spec


def _opened(name: str, fingerprint: str, store_dir: Path) -> DatasetVersion:
    try:
        version, _ = open_dataset(store_dir, name, fingerprint)
    except IntegrityError as error:
        directory = dataset_dir(store_dir, name, fingerprint)
        raise IntegrityError(
            error.what, why=error.why, fix=f"delete {directory} and import again"
        ) from error
    return version


def _look_up(spec: DataSpec, store_dir: Path) -> DatasetVersion:
    version, _ = open_dataset(store_dir, spec.name, spec.version, check=False)
    if spec.target not in (None, version.target):
        raise SpecError(
            f"data.target: {spec.target!r} is not the target of {version.name}",
            why=f"it was imported with target {version.target!r}, which is part of its identity",
            fix=f"import it again: `raymi data import {version.name} FILE --target {spec.target}`",
        )
    return version


def _read_all(spec: DataSpec, root: Path) -> list[pa.Table]:
    named = [
        (str(root / source.path), read_source(source, root=root, csv=spec.csv))
        for source in spec.sources
    ]
    return unify(named)


def _check_target(spec: DataSpec, tables: Sequence[pa.Table]) -> None:
    if spec.target is None:
        return
    names = tables[0].column_names
    if spec.target not in names:
        raise SpecError(
            f"target {spec.target!r}: no such column",
            why=f"the columns are {', '.join(names)}",
            fix=closest(spec.target, names),
        )
    for source, table in zip(spec.sources, tables, strict=True):
        column = table.column(spec.target)
        if column.null_count:
            row = pc.index(pc.is_null(column), True).as_py() + 1
            raise DataError(
                f"{source.path}: row {row} has no target {spec.target!r}",
                why=f"{column.null_count} of {table.num_rows} rows have none, "
                "and nothing can be learned from those",
                fix="remove these rows, or check `csv.null_values`",
            )


def _by_split(tables: Sequence[pa.Table], assigned: Sequence[object]) -> Tables:
    return {
        split: pa.concat_tables(
            table.filter(pa.array(chosen == index))
            for table, chosen in zip(tables, assigned, strict=True)
        )
        for index, split in enumerate(SPLITS)
    }


def _check_pin(spec: DataSpec, fingerprint: str) -> None:
    if spec.version is not None and not fingerprint.startswith(spec.version):
        raise ConflictError(
            f"dataset {spec.name}: the sources are not version {spec.version}",
            why=f"their content has fingerprint {fingerprint[:16]}",
            fix="restore the sources, or remove `version` to accept the new content",
        )


def _publish(
    spec: DataSpec,
    splits: Tables,
    files: Sequence[SourceFile],
    *,
    fingerprint: str,
    directory: Path,
) -> None:
    with _disk_errors_named(directory), staging(directory) as temporary:
        version = DatasetVersion(
            name=spec.name,
            fingerprint=fingerprint,
            target=spec.target,
            columns=_describe(splits),
            shards=write_shards(splits, temporary, rows_per_shard=spec.rows_per_shard),
            split=spec.split,
            sources=tuple(files),
            source_url=spec.source_url,
            licence=spec.licence,
            imported_at=datetime.now(UTC),
        )
        version.save(temporary / DATASET_FILE)


@contextmanager
def _disk_errors_named(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RaymiError(
            f"{directory}: the dataset could not be written",
            why=error.strerror or str(error),
            fix="free some space, or set RAYMI_STORE to a directory that can be written",
        ) from error


def _describe(splits: Tables) -> tuple[Column, ...]:
    schema = splits[Split.TRAIN].schema
    return tuple(
        Column(
            name=field.name,
            type=type_text(field.type),
            shape=tensor_shape(field.type),
            statistics={
                split: describe_column(table.column(field.name)) for split, table in splits.items()
            },
        )
        for field in schema
    )
