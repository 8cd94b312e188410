"""Receipt: what a tuning measured and what follows from it, in a file that can be checked."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError

import raymi
from raymi.errors import IntegrityError
from raymi.serve.tuning.decide import decide
from raymi.serve.tuning.evidence import Evidence
from raymi.serve.tuning.verdicts import TuningDecision
from raymi.store.record import Record, write_atomically
from raymi.sweep.plain_json import laid_out
from raymi.sweep.receipt import differences, digest, digest_difference


class TuningReceipt(Record):
    """The evidence of a tuning and the decision that follows from it."""

    kind: Literal["tune_serving"] = "tune_serving"
    """Tells receipts apart."""

    format: Literal[1] = 1
    """Of this document."""

    raymi: str
    """Version that decided."""

    created_at: datetime
    """UTC."""

    evidence: Evidence
    decision: TuningDecision
    sha256: str
    """Of everything else here, as canonical JSON (hex)."""

    def save(self, path: Path) -> None:
        """Write atomically, in a layout that people can read."""
        write_atomically(path, f"{laid_out(self.model_dump(mode='json'))}\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; `verify` says whether it holds.

        Raises:
            IntegrityError: It is not a receipt of a tuning.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            raise IntegrityError(
                f"{path}: not a receipt of a tuning",
                why=" ".join(str(error).split())[:200],
                fix="give the receipt.json that `raymi tune-serving` left",
            ) from error


def seal(evidence: Evidence, *, created_at: datetime) -> TuningReceipt:
    """Decide, and put down both in a receipt.

    Args:
        evidence: Everything measured.
        created_at: Now, in UTC.
    """
    unsigned = TuningReceipt(
        raymi=raymi.__version__,
        created_at=created_at,
        evidence=evidence,
        decision=decide(evidence),
        sha256="",
    )
    return unsigned.model_copy(update={"sha256": digest(unsigned.model_dump(mode="json"))})


def verify(path: Path) -> tuple[str, ...]:
    """What does not hold: the checksum, and every field that does not follow from the evidence.

    Raises:
        IntegrityError: It is not a receipt of a tuning.
    """
    receipt = TuningReceipt.load(path)
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    altered = digest_difference(document)
    found = [] if altered is None else [altered]
    try:
        recomputed = decide(receipt.evidence)
    except (ArithmeticError, LookupError, ValueError) as error:
        return (*found, f"decision: cannot follow from this evidence ({error})")
    stored = receipt.decision.model_dump(mode="json")
    return (*found, *differences(stored, recomputed.model_dump(mode="json"), "decision"))
