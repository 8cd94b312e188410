"""Documents the platform writes: frozen, versioned by their fields, JSON on disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of everything Raymi writes down about what happened."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def save(self, path: Path) -> None:
        """Write atomically: a reader sees the old document or the new one, never half of one."""
        write_atomically(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a document written by `save`."""
        return cls.model_validate_json(path.read_bytes())


def write_atomically(path: Path, text: str) -> None:
    """Replace a text file in one step, durable once this returns."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp's 0600 would hide it from workers and replicas of other users.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
