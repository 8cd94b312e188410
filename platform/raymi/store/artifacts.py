"""Directories that appear whole or not at all, and that notice a changed byte.

Publishing writes `MANIFEST.json` (sha256 and size of every file) beside the files, syncs
them, and renames the directory into place. Verifying reads every byte back.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raymi.errors import IntegrityError, NotFoundError
from raymi.store.record import write_atomically

MANIFEST = "MANIFEST.json"
_CHUNK_BYTES = 1 << 20


@contextmanager
def staging(destination: Path) -> Iterator[Path]:
    """Give a directory to fill; publish it as `destination` when the block ends well.

    If `destination` exists by then, the new files are dropped: published artifacts are
    immutable, and equal keys hold equal content. If the block raises, nothing is left behind.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=destination.parent, prefix=f".{destination.name}."))
    # mkdtemp's 0700 would hide the artifact from workers and replicas of other users.
    temporary.chmod(0o755)
    try:
        yield temporary
        seal(temporary)
        _rename(temporary, destination)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def seal(directory: Path) -> str:
    """Write the manifest of a directory and return the manifest's own sha256."""
    files = {
        str(path.relative_to(directory)): {"sha256": _sha256(path), "bytes": path.stat().st_size}
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    text = json.dumps({"format": 1, "files": files}, indent=2, sort_keys=True) + "\n"
    write_atomically(directory / MANIFEST, text)
    return hashlib.sha256(text.encode()).hexdigest()


def verify(directory: Path) -> str:
    """Check every file against the manifest; return the manifest's sha256.

    Raises:
        NotFoundError: There is no such artifact.
        IntegrityError: A file is missing, added, truncated or changed.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise NotFoundError(
            f"{directory}: no artifact here",
            why=f"{MANIFEST} is missing, so nothing was ever published under this name",
            fix="list what exists: `raymi data list`, `raymi models`",
        )
    try:
        text = path.read_text(encoding="utf-8")
        listed: dict[str, dict[str, str | int]] = json.loads(text)["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"the manifest cannot be read ({error})") from error
    present = {
        str(p.relative_to(directory))
        for p in directory.rglob("*")
        if p.is_file() and p.name != MANIFEST
    }
    if extra := sorted(present - listed.keys()):
        raise _damaged(directory / extra[0], "the file is not in the manifest")
    for name, expected in listed.items():
        file = directory / name
        if not file.is_file():
            raise _damaged(file, "the file is missing")
        if file.stat().st_size != expected["bytes"]:
            raise _damaged(file, f"{file.stat().st_size} bytes instead of {expected['bytes']}")
        if _sha256(file) != expected["sha256"]:
            raise _damaged(file, "its sha256 is not the published one")
    return hashlib.sha256(text.encode()).hexdigest()


def _rename(temporary: Path, destination: Path) -> None:
    try:
        temporary.rename(destination)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return
    handle = os.open(destination.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
        os.fsync(file.fileno())
    return digest.hexdigest()


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError(
        f"{path}: damaged artifact, refused",
        why=why,
        fix="restore it from a backup, or import or train it again",
    )
