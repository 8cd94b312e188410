"""Receipt: what a tuning measured and what follows from it, in a file that can be checked."""

from __future__ import annotations

from typing import ClassVar, Literal

from raymi.serve.tuning.decide import decide
from raymi.serve.tuning.evidence import Evidence
from raymi.serve.tuning.verdicts import TuningDecision
from raymi.store.receipt import SealedReceipt


class TuningReceipt(SealedReceipt[Evidence, TuningDecision]):
    """The evidence of a tuning and the decision that follows from it."""

    written_by: ClassVar[str] = "raymi tune-serving"

    kind: Literal["tune_serving"] = "tune_serving"
    """Tells it from the receipt of a sweep, which has none."""

    @classmethod
    def decide(cls, evidence: Evidence) -> TuningDecision:
        """By the rules of tunings."""
        return decide(evidence)
