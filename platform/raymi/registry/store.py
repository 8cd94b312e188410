"""The registry of this process, and the protocol its implementations share."""

from __future__ import annotations

from raymi.registry.memory_store import InMemoryModelStore
from raymi.registry.protocol import ModelStore
from raymi.registry.sql_store import SqlModelStore
from raymi.settings import settings

__all__ = ["BUNDLES", "InMemoryModelStore", "ModelStore", "SqlModelStore", "open_store"]

BUNDLES = "models"
"""Directory of the bundles in the store."""


def open_store() -> SqlModelStore:
    """Open the registry that `RAYMI_DATABASE_URL`, `RAYMI_STORE` and `RAYMI_HOME` name.

    Raises:
        SpecError, UnreachableError, ConflictError: The database cannot be used.
    """
    here = settings()
    return SqlModelStore(here.database, here.store_dir / BUNDLES)
