"""A network as data: a name and JSON arguments."""

from __future__ import annotations

from pydantic import Field, JsonValue

from raymi.store.record import Record


class Architecture(Record):
    """What `raymi.models.catalog` builds a network from."""

    name: str
    """An entry of the catalog, or `module:Class` of somebody's own network."""

    arguments: dict[str, JsonValue] = Field(default={})
    """Keyword arguments of the builder."""
