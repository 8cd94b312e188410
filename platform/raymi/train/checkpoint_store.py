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
from raymi.store.artifacts import staging
from raymi.train.checkpoint import load_state, write_state

DIRECTORY = "checkpoints"
_PREFIX = "step-"


class CheckpointStore:
    """A directory that every worker of the run can reach."""

    def __init__(self, run_dir: Path, *, keep: int) -> None:
        self._directory = run_dir / DIRECTORY
        self._keep = keep

    def newest_first(self) -> list[Path]:
        """Every published checkpoint, the latest step first; some may turn out damaged."""
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
        # One of the same step is equal, or damaged and about to be replaced.
        shutil.rmtree(destination, ignore_errors=True)
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
        """
        for path in self.newest_first():
            try:
                return path, load_state(path)
            except (IntegrityError, NotFoundError) as error:
                say_skipped(path, error.why)
            except (SafetensorError, json.JSONDecodeError, OSError, KeyError) as error:
                say_skipped(path, f"{type(error).__name__}: {error}")
        return None
