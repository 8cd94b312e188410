"""The output directory: whose it is, what is done, and one driver at a time.

job.json                         what it is for; nothing else may be mixed in
predictions/part-00000.parquet   a finished part, moved into place whole
receipts/part-00000.json         its rows and its sha256, written after it
events.jsonl                     what happened
lineage.json  MANIFEST.json      the end; without the manifest it is not complete
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue, ValidationError

from raymi.errors import ConflictError
from raymi.serve.batch.parts import Part, PartReceipt, Published, Resumption, resume
from raymi.store.artifacts import MANIFEST
from raymi.store.record import Record

LINEAGE_FILE = "lineage.json"
PREDICTIONS = "predictions"
_JOB_FILE = "job.json"
_RECEIPTS = "receipts"


class Identity(Record):
    """All that a prediction depends on; parts of one directory have it in common."""

    model: str
    """NAME@VERSION."""

    model_fingerprint: str
    """sha256 of the bundle's manifest."""

    input_fingerprint: str
    """sha256 of what is in the input."""

    num_rows: int
    """Of the input."""

    settings: dict[str, JsonValue]
    """Fields of the spec that change what is written."""


class Job(Record):
    """`job.json`."""

    identity: Identity
    """What the directory is for."""

    started_at: datetime
    """UTC, of the first attempt."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """An output directory that is this job's, and locked."""

    directory: Path
    job: Job
    is_continued: bool
    """Whether an earlier attempt began it."""

    @property
    def is_complete(self) -> bool:
        """Whether an attempt came to its end."""
        return (self.directory / MANIFEST).is_file()

    def part_path(self, part: Part) -> Path:
        """Where the part's file is, or will be."""
        return self.directory / PREDICTIONS / f"{part.name}.parquet"

    def keep_receipt(self, part: Part, receipt: PartReceipt) -> None:
        """Write down that a part is published."""
        receipt.save(self.directory / _RECEIPTS / f"{part.name}.json")

    def look(self, parts: Sequence[Part]) -> Resumption:
        """Compare what is on disk with what was written down; reads every finished part."""
        receipts: dict[int, PartReceipt] = {}
        published: dict[int, Published] = {}
        for part in parts:
            receipt = self._receipt(part)
            if receipt is None:
                continue
            receipts[part.index] = receipt
            path = self.part_path(part)
            if path.is_file():
                published[part.index] = Published(path.stat().st_size, sha256_of(path))
        return resume(parts, receipts, published)

    def reopen(self) -> None:
        """Take the end back, and remove what an attempt that was killed has half written."""
        for name in (MANIFEST, LINEAGE_FILE):
            (self.directory / name).unlink(missing_ok=True)
        for path in self.directory.rglob(".*"):
            path.unlink(missing_ok=True)

    def _receipt(self, part: Part) -> PartReceipt | None:
        try:
            return PartReceipt.load(self.directory / _RECEIPTS / f"{part.name}.json")
        except (OSError, ValidationError, UnicodeDecodeError):
            return None


@contextlib.contextmanager
def open_workspace(
    directory: Path, identity: Identity, *, starts_anew: bool = False
) -> Iterator[Workspace]:
    """Begin a directory, or go on with one of the same identity; nobody else may, meanwhile.

    Args:
        directory: The output.
        identity: What is to be predicted.
        starts_anew: Move what is there aside, whatever it is.

    Raises:
        ConflictError: Something else is there, or another driver is at work on it.
        OSError: It cannot be written.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _lock(directory):
        if starts_anew and directory.exists():
            directory.rename(_aside(directory))
        job = _job_of(directory)
        if job is None:
            job = Job(identity=identity, started_at=datetime.now(UTC))
            for part in (PREDICTIONS, _RECEIPTS):
                (directory / part).mkdir(parents=True)
            # Last: without it the directory is nobody's.
            job.save(directory / _JOB_FILE)
            yield Workspace(directory, job, is_continued=False)
        else:
            _require_same(directory, job.identity, identity)
            yield Workspace(directory, job, is_continued=True)


def sha256_of(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differences(before: Identity, now: Identity) -> list[str]:
    """What has changed, in words; empty if nothing has.

    Pure: it is asked before anything in the directory is touched.
    """
    found = []
    if (before.model, before.model_fingerprint) != (now.model, now.model_fingerprint):
        same_name = before.model == now.model
        found.append(
            f"the model was {before.model}"
            + (f" ({before.model_fingerprint[:12]})" if same_name else "")
            + f", it is {now.model}"
            + (f" ({now.model_fingerprint[:12]})" if same_name else "")
        )
    if before.input_fingerprint != now.input_fingerprint:
        found.append(
            f"the input was {before.input_fingerprint[:12]} with {before.num_rows:,} rows, "
            f"it is {now.input_fingerprint[:12]} with {now.num_rows:,}"
        )
    for name in sorted(before.settings.keys() | now.settings.keys()):
        was, is_now = before.settings.get(name), now.settings.get(name)
        if was != is_now:
            found.append(f"{name} was {was}, it is {is_now}")
    return found


def _job_of(directory: Path) -> Job | None:
    """The job a directory belongs to; None if it is nobody's yet.

    Raises:
        ConflictError: It holds something else.
    """
    path = directory / _JOB_FILE
    if path.is_file():
        try:
            return Job.load(path)
        except (ValidationError, UnicodeDecodeError) as error:
            raise _occupied(directory, f"{_JOB_FILE} cannot be read") from error
    if not directory.exists():
        return None
    if not directory.is_dir():
        raise _occupied(directory, "it is a file")
    # A driver that was killed at its very start leaves empty directories.
    strangers = [entry for entry in directory.iterdir() if not _is_ours_and_empty(entry)]
    if strangers:
        raise _occupied(directory, f"it holds {strangers[0].name}, which no job has written")
    for entry in directory.iterdir():
        if entry.is_dir():
            entry.rmdir()
        else:
            entry.unlink()
    directory.rmdir()
    return None


def _is_ours_and_empty(entry: Path) -> bool:
    if entry.name.startswith(f".{_JOB_FILE}."):
        return True
    return entry.name in (PREDICTIONS, _RECEIPTS) and entry.is_dir() and not any(entry.iterdir())


def _require_same(directory: Path, before: Identity, now: Identity) -> None:
    if found := differences(before, now):
        raise ConflictError(
            f"{directory}: begun for something else",
            why="; ".join(found),
            fix="undo the change to go on with it, name another `output`, or add `--new` to move "
            "what is there aside and begin again",
        )


def _occupied(directory: Path, why: str) -> ConflictError:
    return ConflictError(
        f"{directory}: cannot become the output",
        why=why,
        fix="name another `output`, or add `--new` to move what is there aside",
    )


def _aside(directory: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    path = directory.with_name(f"{directory.name}.before-{stamp}")
    number = 1
    while path.exists():
        number += 1
        path = directory.with_name(f"{directory.name}.before-{stamp}-{number}")
    return path


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Held by the process, so that it ends with it; beside the directory, which gets sealed."""
    path = directory.with_name(f".{directory.name}.lock")
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"{directory}: another driver is at work on it",
                why="the same output was asked for before, and that job is running",
                fix="wait for it, stop it, or name another `output`",
            ) from None
        yield
