"""Imported datasets on disk: where they are, which there are, which one is meant.

    <store>/datasets/<name>/<first 16 hex digits of the fingerprint>/
        dataset.json   MANIFEST.json   train-00000.arrow ...

Unfinished imports start with a dot and are never looked at.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import ValidationError

from raymi.data.version import DatasetVersion
from raymi.errors import IntegrityError, NotFoundError, SpecError
from raymi.specs.paths import closest
from raymi.store.artifacts import verify

DATASET_FILE = "dataset.json"
_KEY_DIGITS = 16
_KEY = re.compile(rf"[0-9a-f]{{{_KEY_DIGITS}}}")


def dataset_dir(store_dir: Path, name: str, fingerprint: str) -> Path:
    """Where one version is, or would be."""
    return store_dir / "datasets" / name / fingerprint[:_KEY_DIGITS]


def open_dataset(
    store_dir: Path, name: str, version: str | None = None, *, check: bool = True
) -> tuple[DatasetVersion, Path]:
    """Find one version of a dataset.

    Args:
        store_dir: The artifact store.
        name: The dataset.
        version: Its fingerprint, or enough first characters; None means the newest import.
        check: Read every byte and compare it with the manifest.

    Returns:
        The version and its directory.

    Raises:
        NotFoundError: No such dataset or version.
        SpecError: The prefix fits several versions.
        IntegrityError: The files are not those that were imported.
    """
    versions = _versions(store_dir, name)
    if not versions:
        raise _no_dataset(store_dir, name)
    found = versions[-1] if version is None else _match(versions, version)
    directory = dataset_dir(store_dir, name, found.fingerprint)
    if check:
        verify(directory)
    return found, directory


def list_datasets(store_dir: Path) -> list[DatasetVersion]:
    """Every version of every dataset, by name, oldest import first.

    Raises:
        IntegrityError: A version's record is damaged.
    """
    root = store_dir / "datasets"
    names = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
    return [version for name in names for version in _versions(store_dir, name)]


def _versions(store_dir: Path, name: str) -> list[DatasetVersion]:
    root = store_dir / "datasets" / name
    if Path(name).name != name or not root.is_dir():
        return []
    versions = [_load(path) for path in root.iterdir() if _KEY.fullmatch(path.name)]
    return sorted(versions, key=lambda version: (version.imported_at, version.fingerprint))


def _load(directory: Path) -> DatasetVersion:
    path = directory / DATASET_FILE
    try:
        return DatasetVersion.load(path)
    except (OSError, ValidationError) as error:
        raise IntegrityError(
            f"{path}: damaged dataset record",
            why=" ".join(str(error).split())[:200],
            fix=f"delete {directory} and import the dataset again",
        ) from error


def _match(versions: list[DatasetVersion], prefix: str) -> DatasetVersion:
    matches = [version for version in versions if version.fingerprint.startswith(prefix)]
    if len(matches) == 1:
        return matches[0]
    name = versions[0].name
    known = ", ".join(version.fingerprint[:12] for version in versions)
    if not matches:
        raise NotFoundError(
            f"dataset {name}@{prefix}: no such version",
            why=f"imported versions, oldest first: {known}",
            fix=f"use one of these, or leave the version out for the newest: {name}",
        )
    raise SpecError(
        f"dataset {name}@{prefix}: ambiguous",
        why=f"{len(matches)} versions start with {prefix}: {known}",
        fix="give more characters of the fingerprint",
    )


def _no_dataset(store_dir: Path, name: str) -> NotFoundError:
    known = sorted({version.name for version in list_datasets(store_dir)})
    return NotFoundError(
        f"dataset {name}: not imported",
        why=f"{store_dir} has {', '.join(known)}" if known else f"{store_dir} has no datasets",
        fix=f"{closest(name, known)} or `raymi data import {name} FILE`"
        if known
        else f"`raymi data import {name} FILE`",
    )
