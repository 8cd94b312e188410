"""The one kind of document users write: frozen, strict, self-describing.

A spec is parsed through JSON so that strictness has one meaning everywhere: a number is
never read from a string, a list may fill a tuple, and an unknown field is an error.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """Base of everything a user may ask for."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    @classmethod
    def from_document(cls, document: Any) -> Self:
        """Validate a parsed YAML or JSON document.

        Raises:
            pydantic.ValidationError: `raymi.specs.loading` turns it into three lines.
        """
        return cls.model_validate_json(json.dumps(cls.expand(document)))

    @classmethod
    def expand(cls, document: Any) -> Any:
        """Write out the shorthands a spec allows; most allow none."""
        return document

    def to_document(self) -> dict[str, Any]:
        """Every field, defaults included, as plain JSON values."""
        return self.model_dump(mode="json")

    def fingerprint(self) -> str:
        """sha256 (hex) of the canonical JSON: equal if and only if the request is equal."""
        canonical = json.dumps(self.to_document(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
