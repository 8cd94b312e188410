"""What a registry can do, whatever it is kept in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from raymi.registry.version import ModelEvent, ModelSummary, ModelVersion


class ModelStore(Protocol):
    """Registered models, their aliases and their history.

    Every change is one transaction with one row of history: it happened as a whole, or not.
    """

    def register(
        self, name: str, summary: ModelSummary, write: Callable[[Path], None], *, by: str
    ) -> ModelVersion:
        """Publish a bundle as the next version and make it the candidate.

        A run is registered once: doing it again returns the version it has. `write` fills an
        empty directory; if it raises, nothing has happened.

        Raises:
            SpecError: The name is not usable.
        """

    def get(self, name: str, version: int) -> ModelVersion:
        """One version.

        Raises:
            NotFoundError: There is no such version.
        """

    def resolve(self, reference: str) -> ModelVersion:
        """The version behind `digits@champion` or `digits@3`.

        Raises:
            SpecError: It is not written like that.
            NotFoundError: There is no such model, version or alias.
        """

    def list(self, name: str | None = None) -> tuple[ModelVersion, ...]:
        """Every version of one model or of all, by name, oldest first.

        Raises:
            NotFoundError: There is no model of that name.
        """

    def aliases(self, name: str) -> dict[str, int]:
        """Alias -> version; empty for a name without versions."""

    def history(self, name: str) -> tuple[ModelEvent, ...]:
        """Everything that happened to a model, oldest first.

        Raises:
            NotFoundError: There is no model of that name.
        """

    def promote(self, name: str, version: int, *, by: str, reason: str) -> ModelVersion:
        """Make a version champion and the champion before it `previous`.

        Raises:
            NotFoundError: There is no such version.
            IntegrityError: Its bundle is damaged; nothing has changed.
        """

    def rollback(self, name: str, *, by: str, reason: str) -> ModelVersion:
        """Make `previous` champion again, and the champion `previous`.

        Raises:
            NotFoundError: There is no model of that name.
            ConflictError: There is no previous champion.
            IntegrityError: Its bundle is damaged; nothing has changed.
        """
