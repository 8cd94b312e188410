"""Receipt: what a sweep measured and what it decided, in a file that a stranger can check."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import ValidationError

import raymi
from raymi.errors import IntegrityError
from raymi.store.record import Record, write_atomically
from raymi.sweep.decision.decide import decide
from raymi.sweep.evidence import Evidence
from raymi.sweep.plain_json import canonical, laid_out
from raymi.sweep.verdicts import Decision

FORMAT: Literal[1] = 1
_DIGEST = "sha256"
_AnyReceipt = TypeVar("_AnyReceipt", bound="Receipt")
_RELATIVE_TOLERANCE = 1e-9
_ABSOLUTE_TOLERANCE = 1e-12
"""Sums may differ in their last digits between processors."""


class Receipt(Record):
    """The evidence of a sweep and the decision that follows from it."""

    format: Literal[1] = FORMAT
    """Of this document."""

    raymi: str
    """Version that decided."""

    created_at: datetime
    """UTC."""

    evidence: Evidence
    decision: Decision
    sha256: str
    """Of everything else here, as canonical JSON (hex)."""

    def save(self, path: Path) -> None:
        """Write atomically, in a layout that people can read; numbers of many rows in one line."""
        write_atomically(path, f"{laid_out(self.model_dump(mode='json'))}\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            IntegrityError: It is not a receipt, or not all of it is as it was written.
        """
        document = _read(path)
        if (difference := digest_difference(document)) is not None:
            raise _damaged(path, difference)
        return _parse(cls, document, path)


def seal(evidence: Evidence, *, created_at: datetime) -> Receipt:
    """Decide, and put down both in a receipt.

    Args:
        evidence: Everything measured.
        created_at: Now, in UTC.
    """
    unsigned = Receipt(
        raymi=raymi.__version__,
        created_at=created_at,
        evidence=evidence,
        decision=decide(evidence),
        sha256="",
    )
    return unsigned.model_copy(update={_DIGEST: digest(unsigned.model_dump(mode="json"))})


def verify(receipt: Receipt | Path) -> tuple[str, ...]:
    """What does not hold: the checksum, and every field that does not follow from the evidence.

    Args:
        receipt: A receipt, or the file that it is in.

    Raises:
        IntegrityError: The file is not a receipt.
    """
    if isinstance(receipt, Receipt):
        document = receipt.model_dump(mode="json")
    else:
        document = _read(receipt)
        receipt = _parse(Receipt, document, receipt)
    altered = digest_difference(document)
    found = [] if altered is None else [altered]
    try:
        recomputed = decide(receipt.evidence)
    except (ArithmeticError, LookupError, ValueError) as error:
        # Only what nobody measured can be that inconsistent.
        return (*found, f"decision: cannot follow from this evidence ({error})")
    stored = receipt.decision.model_dump(mode="json")
    unlike = list(differences(stored, recomputed.model_dump(mode="json"), "decision"))
    if unlike and receipt.raymi != raymi.__version__:
        versions = f"decided by {receipt.raymi}, recomputed by {raymi.__version__}"
        found.append(f"raymi: {versions}; the rules may have changed")
    return (*found, *unlike)


def _read(path: Path) -> dict[str, Any]:
    """The document as it stands in the file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _damaged(path, f"it is not JSON: {error}") from error
    if not isinstance(document, dict) or not {"evidence", "decision", _DIGEST} <= set(document):
        raise _damaged(path, "it has no evidence, decision and sha256")
    if (found := document.get("format")) != FORMAT:
        raise IntegrityError(
            f"{path}: a receipt of format {found}",
            why=f"raymi {raymi.__version__} reads format {FORMAT}",
            fix="use the version of raymi that wrote it",
        )
    return document


def _parse(kind: type[_AnyReceipt], document: dict[str, Any], path: Path) -> _AnyReceipt:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _damaged(path, f"{where}: {first['msg']}") from error


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError(
        f"{path}: not a receipt as it was written",
        why=why,
        fix="`raymi receipt verify` lists what differs; take the file from the store again",
    )


def digest(document: dict[str, Any]) -> str:
    """sha256 (hex) of all of a receipt but its own `sha256`."""
    rest = {name: part for name, part in document.items() if name != _DIGEST}
    return hashlib.sha256(canonical(rest).encode()).hexdigest()


def digest_difference(document: dict[str, Any]) -> str | None:
    """What its `sha256` says and what its content gives; None: the same."""
    computed = digest(document)
    if computed == document[_DIGEST]:
        return None
    return f"{_DIGEST}: the receipt says {document[_DIGEST]}, its content gives {computed}"


def differences(stored: Any, computed: Any, path: str) -> Iterator[str]:
    """Where two documents differ, with both values."""
    if isinstance(stored, dict) and isinstance(computed, dict):
        for name in stored | computed:
            yield from differences(stored.get(name), computed.get(name), f"{path}.{name}")
    elif isinstance(stored, list) and isinstance(computed, list):
        if len(stored) != len(computed):
            yield f"{path}: the receipt has {len(stored)}, its evidence gives {len(computed)}"
        for index, (one, other) in enumerate(zip(stored, computed, strict=False)):
            yield from differences(one, other, f"{path}[{index}]")
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
