"""A sweep's directory: found again by what was asked, and used by one driver at a time.

spec.resolved.yaml    what was asked, its data pinned
started.json          when, and how long the sweep was at work before it was last interrupted
events.jsonl          what happened, for people and consoles
probe/                the probe's journal
trials/<run_id>.json  what each training run left
receipt.json          the end
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from raymi.errors import ConflictError
from raymi.specs.loading import resolved_yaml
from raymi.specs.sweep import SweepSpec
from raymi.store.record import Record, write_atomically
from raymi.train.run_files import SPEC_FILE, new_run_id

RECEIPT_FILE = "receipt.json"
SWEEPS = "sweeps"
_STARTED_FILE = "started.json"
_INTENT_FILE = "intent.json"
_LOCK_FILE = "lock"


class Started(Record):
    """When a sweep began, and what was asked."""

    spec_fingerprint: str
    """Of the spec as it was asked, with its data pinned to a version."""

    started_at: datetime
    """UTC."""


class Intent(Record):
    """What is to be trained; settled once, so that a continued sweep does not plan anew with what
    is left of its budget."""

    finalists: tuple[str, ...]
    """Numerics that are compared with the reference, the most promising first."""

    num_seeds: int
    """Runs of each; 0: nothing can be paid."""

    is_cut_short: bool = False
    """Whether more was wanted than the budget pays for."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """An open sweep."""

    directory: Path
    started: Started
    is_continued: bool
    """Whether an earlier driver left it unfinished."""

    @property
    def sweep_id(self) -> str:
        """Unique; also the directory's name."""
        return self.directory.name

    @property
    def probe_dir(self) -> Path:
        """Where the probe keeps its journal."""
        return self.directory / "probe"

    @property
    def trials_dir(self) -> Path:
        """Where training runs leave what became of them."""
        return self.directory / "trials"

    @property
    def intent(self) -> Intent | None:
        """What an earlier driver has settled, if it came that far."""
        path = self.directory / _INTENT_FILE
        return Intent.load(path) if path.is_file() else None

    def settle(self, intent: Intent) -> None:
        """Write down what is to be trained."""
        intent.save(self.directory / _INTENT_FILE)

    @property
    def receipt(self) -> Path:
        """Exists once the sweep has ended."""
        return self.directory / RECEIPT_FILE


@contextlib.contextmanager
def open_workspace(
    spec: SweepSpec, *, store_dir: Path, starts_anew: bool = False
) -> Iterator[Workspace]:
    """Continue the unfinished sweep of this very spec, or begin one; nobody else may, meanwhile.

    Args:
        spec: What is asked, its data pinned to a version.
        store_dir: Where sweeps are.
        starts_anew: Leave an unfinished one alone.

    Raises:
        ConflictError: It is running at this moment.
    """
    found = None if starts_anew else _unfinished(spec.fingerprint(), store_dir / SWEEPS)
    directory = found or _create(spec, store_dir / SWEEPS)
    with _lock(directory):
        yield Workspace(
            directory=directory,
            started=Started.load(directory / _STARTED_FILE),
            is_continued=found is not None,
        )


def _unfinished(fingerprint: str, sweeps: Path) -> Path | None:
    """The newest sweep of the spec that has no receipt."""
    for file in sorted(sweeps.glob(f"*/{_STARTED_FILE}"), reverse=True):
        try:
            started = Started.load(file)
        except (OSError, ValidationError):
            continue
        if started.spec_fingerprint == fingerprint and not (file.parent / RECEIPT_FILE).exists():
            return file.parent
    return None


def _create(spec: SweepSpec, sweeps: Path) -> Path:
    directory = sweeps / new_run_id(spec.train.name)
    for part in ("probe", "trials"):
        (directory / part).mkdir(parents=True)
    write_atomically(directory / SPEC_FILE, resolved_yaml(spec))
    # Last: without it the directory is nobody's sweep.
    Started(spec_fingerprint=spec.fingerprint(), started_at=datetime.now(UTC)).save(
        directory / _STARTED_FILE
    )
    return directory


def has_driver(directory: Path) -> bool:
    """Whether somebody is at work on the sweep of a directory at this moment."""
    with (directory / _LOCK_FILE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Held by the process, so that it ends with it, however it ends."""
    with (directory / _LOCK_FILE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"sweep {directory.name} is running already",
                why="the same spec was submitted before, and its driver is at work",
                fix="wait for it, stop its job, or add `--new` for a second sweep beside it",
            ) from None
        yield
