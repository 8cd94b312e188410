"""Bundles on disk: written aside, moved into place whole, checked against the registry.

<bundles>/<name>/<version>/        published
<bundles>/<name>/.incoming-*/      being written; never looked at
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raymi.errors import IntegrityError, SpecError
from raymi.registry.version import ModelVersion
from raymi.store.artifacts import verify

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def bundle_path(bundles_dir: Path, name: str, version: int) -> Path:
    """Where one version's bundle is."""
    return bundles_dir / name / str(version)


@contextmanager
def incoming(bundles_dir: Path, name: str) -> Iterator[Path]:
    """A directory to fill on the file system of the published ones; gone when the block ends.

    Raises:
        SpecError: The name cannot be a directory and a part of a URL.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"{name!r}: not a model name",
            why="names become directories and URLs",
            fix="use lower-case letters, digits, - and _, at most 63",
        )
    parent = bundles_dir / name
    parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(dir=parent, prefix=".incoming-"))
    try:
        # Serving may run as another user than training.
        directory.chmod(0o755)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def publish(directory: Path, destination: Path) -> None:
    """Move a sealed directory into place; durable once this returns.

    Raises:
        OSError: Something is there already.
    """
    directory.rename(destination)
    handle = os.open(destination.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def first_free_version(bundles_dir: Path, name: str, *, after: int) -> int:
    """The next number without a directory.

    A registration that died between moving its bundle and committing leaves one behind; its
    number is skipped, because what is in it was never vouched for.
    """
    version = after + 1
    while bundle_path(bundles_dir, name, version).exists():
        version += 1
    return version


def check_bundle(version: ModelVersion) -> None:
    """Read every byte of a registered bundle and compare it with what was registered.

    Raises:
        NotFoundError: The bundle is gone.
        IntegrityError: A byte has changed since.
    """
    check_fingerprint(verify(Path(version.path)), version.fingerprint, Path(version.path))


def check_fingerprint(found: str, registered: str, directory: Path) -> None:
    """Compare manifests: whoever changes a file and its manifest has not changed the registry.

    Raises:
        IntegrityError: They differ.
    """
    if found != registered:
        raise IntegrityError(
            f"{directory}: not the bundle that was registered",
            why=f"its manifest is {found[:12]}, the registry has {registered[:12]}",
            fix="restore it from a backup, or train and register again",
        )
