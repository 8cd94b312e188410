"""The platform on one page: its stages, in order, and what each hands to the next.

The README map and `raymi stages` are printed from `STAGES`. A new stage starts here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a model's life; also the name of the package that does it."""

    name: str
    question: str
    takes: tuple[str, ...]
    gives: str


STAGES = (
    Stage("data", "What do we learn from?", ("DataSpec",), "DatasetVersion"),
    Stage("train", "Can a model learn it?", ("TrainSpec", "DatasetVersion"), "TrainResult"),
    Stage("sweep", "Which settings win?", ("SweepSpec", "DatasetVersion"), "SweepResult"),
    Stage("evaluate", "How good is it, really?", ("TrainResult",), "Evaluation"),
    Stage("registry", "Which model do we trust?", ("Evaluation",), "ModelVersion"),
    Stage("serve", "Who can use it?", ("DeploySpec", "ModelVersion"), "Deployment"),
)
