"""The checkpoints of one run: published whole, verified when read, pruned to the newest few.

<run>/checkpoints/step-000000120/   state.safetensors, state.json, MANIFEST.json
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from raymi.errors import IntegrityError, NotFoundError
from raymi.store.artifacts import staging, verify
from raymi.train.checkpoint import load_state, write_state

DIRECTORY = "checkpoints"
_PREFIX = "step-"


class CheckpointStore:
    """A directory that every worker of the run can reach."""

    def __init__(self, run_dir: Path, *, keep: int) -> None:
        self._directory = run_dir / DIRECTORY
        self._keep = keep

    def newest_first(self) -> list[Path]:
        """Every published checkpoint, the latest step first; some may turn out damaged.

        Raises:
            OSError: The run's directory is away.
        """
        # A run that has lost its storage must not look like one that has not begun.
        self._directory.parent.stat()
        return sorted(self._directory.glob(f"{_PREFIX}*"), reverse=True)

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is."""
        return self._directory / f"{_PREFIX}{step:09d}"

    def publish(self, step: int, state: dict[str, Any]) -> Path:
        """Write one checkpoint; it appears whole or not at all, and the oldest ones go.

        Raises:
            OSError: The storage is full or away; nothing was published.
        """
        destination = self.path(step)
        # Not its parents: under a mount point that is empty, they would hide what comes back.
        self._directory.mkdir(exist_ok=True)
        if destination.exists():
            if self._is_good(destination):
                return destination
            shutil.rmtree(destination)
        with staging(destination) as directory:
            write_state(directory, state)
        self.prune(self._keep)
        return destination

    def prune(self, keep: int) -> None:
        """Delete all but the newest few, and what killed writers left behind."""
        for old in [*self.newest_first()[keep:], *self._directory.glob(f".{_PREFIX}*")]:
            shutil.rmtree(old, ignore_errors=True)

    def load(self, step: int) -> tuple[Path, dict[str, Any]]:
        """The checkpoint that another worker has found good.

        Raises:
            NotFoundError, IntegrityError: It is not here, or not as it was written.
        """
        return self.path(step), load_state(self.path(step))

    def load_newest(
        self, say_skipped: Callable[[Path, str], None]
    ) -> tuple[Path, dict[str, Any]] | None:
        """The newest checkpoint whose every byte is as it was written; None without one.

        Args:
            say_skipped: Hears of each damaged one that was passed over, and why.

        Raises:
            OSError: The storage is away, or there are checkpoints and none can be read.
        """
        skipped: list[tuple[Path, str]] = []
        found, failure = None, None
        for path in self.newest_first():
            try:
                found = path, load_state(path)
                break
            except (IntegrityError, NotFoundError) as error:
                skipped.append((path, error.why))
            except (SafetensorError, json.JSONDecodeError, OSError, KeyError) as error:
                skipped.append((path, f"{type(error).__name__}: {error}"))
                failure = error if isinstance(error, OSError) else failure
        if found is None and failure is not None:
            raise failure
        for path, why in skipped:
            say_skipped(path, why)
        return found

    def _is_good(self, path: Path) -> bool:
        try:
            verify(path)
        except (IntegrityError, NotFoundError):
            return False
        return True
