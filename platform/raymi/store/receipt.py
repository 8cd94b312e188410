"""Receipt: evidence, the decision that follows from it, and a checksum, in a file to be checked."""

from __future__ import annotations

import hashlib
import json
import math
from abc import abstractmethod
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import ValidationError

import raymi
from raymi.errors import IntegrityError
from raymi.store.plain_json import canonical, laid_out
from raymi.store.record import Record, write_atomically

FORMAT: Literal[1] = 1
_DIGEST = "sha256"
_RELATIVE_TOLERANCE = 1e-9
_ABSOLUTE_TOLERANCE = 1e-12
"""Sums may differ in their last digits between processors."""

EvidenceT = TypeVar("EvidenceT", bound=Record)
DecisionT = TypeVar("DecisionT", bound=Record)


class SealedReceipt(Record, Generic[EvidenceT, DecisionT]):
    """Base of every receipt; a kind of its own says how it decides, and who writes it."""

    written_by: ClassVar[str]
    """The command, as people type it."""

    format: Literal[1] = FORMAT
    """Of this document."""

    raymi: str
    """Version that decided."""

    created_at: datetime
    """UTC."""

    evidence: EvidenceT
    decision: DecisionT
    sha256: str
    """Of everything else here, as canonical JSON (hex)."""

    @classmethod
    @abstractmethod
    def decide(cls, evidence: EvidenceT) -> DecisionT:
        """What follows from evidence, and from nothing else."""

    @classmethod
    def seal(cls, evidence: EvidenceT, *, created_at: datetime) -> Self:
        """Decide, and put down both.

        Args:
            evidence: Everything measured.
            created_at: Now, in UTC.
        """
        unsigned = cls(
            raymi=raymi.__version__,
            created_at=created_at,
            evidence=evidence,
            decision=cls.decide(evidence),
            sha256="",
        )
        return unsigned.model_copy(update={_DIGEST: _digest(unsigned.model_dump(mode="json"))})

    def save(self, path: Path) -> None:
        """Write atomically, in a layout that people can read; numbers of many rows in one line."""
        write_atomically(path, f"{laid_out(self.model_dump(mode='json'))}\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            IntegrityError: It is not a receipt of this kind, or not all of it is as written.
        """
        document = cls._read(path)
        if (difference := _digest_difference(document)) is not None:
            raise cls._damaged(path, difference)
        return cls._parse(document, path)

    @classmethod
    def load_unchecked(cls, path: Path) -> Self:
        """Read a receipt that may have been changed.

        Raises:
            IntegrityError: The file is not a receipt of this kind.
        """
        return cls._parse(cls._read(path), path)

    @classmethod
    def verify(cls, path: Path) -> tuple[str, ...]:
        """What does not hold: the checksum, and every field that the evidence does not give.

        Raises:
            IntegrityError: The file is not a receipt of this kind.
        """
        document = cls._read(path)
        receipt = cls._parse(document, path)
        altered = _digest_difference(document)
        found = [] if altered is None else [altered]
        try:
            recomputed = cls.decide(receipt.evidence)
        except (ArithmeticError, LookupError, ValueError) as error:
            # Only what nobody measured can be that inconsistent.
            return (*found, f"decision: cannot follow from this evidence ({error})")
        stored = receipt.decision.model_dump(mode="json")
        unlike = list(_differences(stored, recomputed.model_dump(mode="json"), "decision"))
        if unlike and receipt.raymi != raymi.__version__:
            versions = f"decided by {receipt.raymi}, recomputed by {raymi.__version__}"
            found.append(f"raymi: {versions}; the rules may have changed")
        return (*found, *unlike)

    @classmethod
    def _read(cls, path: Path) -> dict[str, Any]:
        """The document as it stands in the file."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise cls._damaged(path, f"it is not JSON: {error}") from error
        if not isinstance(document, dict) or not {"evidence", "decision", _DIGEST} <= set(document):
            raise cls._damaged(path, "it has no evidence, decision and sha256")
        wanted = cls.model_fields["kind"].default if "kind" in cls.model_fields else None
        if (kind := document.get("kind")) != wanted:
            raise IntegrityError(
                f"{path}: a receipt of another kind",
                why=f"`{cls.written_by}` writes `kind` {wanted}, and this one says {kind}",
                fix=f"give the receipt.json that `{cls.written_by}` left",
            )
        if (found := document.get("format")) != FORMAT:
            raise IntegrityError(
                f"{path}: a receipt of format {found}",
                why=f"raymi {raymi.__version__} reads format {FORMAT}",
                fix="use the version of raymi that wrote it",
            )
        return document

    @classmethod
    def _parse(cls, document: dict[str, Any], path: Path) -> Self:
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise cls._damaged(path, f"{where}: {first['msg']}") from error

    @classmethod
    def _damaged(cls, path: Path, why: str) -> IntegrityError:
        return IntegrityError(
            f"{path}: not a receipt as `{cls.written_by}` wrote it",
            why=why,
            fix="`raymi receipt verify` lists what differs; take the file from the store again",
        )


def _digest(document: dict[str, Any]) -> str:
    """sha256 (hex) of all of a receipt but its own `sha256`."""
    rest = {name: part for name, part in document.items() if name != _DIGEST}
    return hashlib.sha256(canonical(rest).encode()).hexdigest()


def _digest_difference(document: dict[str, Any]) -> str | None:
    """What its `sha256` says and what its content gives; None: the same."""
    computed = _digest(document)
    if computed == document[_DIGEST]:
        return None
    return f"{_DIGEST}: the receipt says {document[_DIGEST]}, its content gives {computed}"


def _differences(stored: Any, computed: Any, path: str) -> Iterator[str]:
    """Where two documents differ, with both values."""
    if isinstance(stored, dict) and isinstance(computed, dict):
        for name in stored | computed:
            yield from _differences(stored.get(name), computed.get(name), f"{path}.{name}")
    elif isinstance(stored, list) and isinstance(computed, list):
        if len(stored) != len(computed):
            yield f"{path}: the receipt has {len(stored)}, its evidence gives {len(computed)}"
        for index, (one, other) in enumerate(zip(stored, computed, strict=False)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif not _are_equal(stored, computed):
        yield f"{path}: the receipt says {stored!r}, its evidence gives {computed!r}"


def _are_equal(stored: Any, computed: Any) -> bool:
    numbers = [
        isinstance(value, int | float) and not isinstance(value, bool)
        for value in (stored, computed)
    ]
    if all(numbers):
        return math.isclose(
            stored, computed, rel_tol=_RELATIVE_TOLERANCE, abs_tol=_ABSOLUTE_TOLERANCE
        )
    return type(stored) is type(computed) and bool(stored == computed)
