"""Receipt: what a sweep measured and what it decided, in a file that a stranger can check."""

from __future__ import annotations

from typing import ClassVar

from raymi.store.receipt import SealedReceipt
from raymi.sweep.decision.decide import decide
from raymi.sweep.evidence import Evidence
from raymi.sweep.verdicts import Decision


class Receipt(SealedReceipt[Evidence, Decision]):
    """The evidence of a sweep and the decision that follows from it."""

    written_by: ClassVar[str] = "jobs/sweep.py"

    @classmethod
    def decide(cls, evidence: Evidence) -> Decision:
        """By the rules of sweeps."""
        return decide(evidence)
