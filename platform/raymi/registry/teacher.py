"""What a registered model says about every training row: the soft targets of distillation.

The teacher is asked once, before training, so that a run costs what it costs without one, and
resuming or repeating it meets the same answers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from raymi.data.loading import load_split
from raymi.data.preprocessing import ClassTarget, NumberTarget, Target
from raymi.errors import SpecError
from raymi.evaluate.predictor import Predictions
from raymi.registry.bundle import Bundle, load_bundle
from raymi.registry.protocol import ModelStore
from raymi.registry.version import ModelVersion
from raymi.specs.data import Split
from raymi.train.plan import Teacher, TrainPlan

TEACHER_FILE = "teacher.json"
SOFT_TARGETS_FILE = "teacher.npy"

_CHUNK_ROWS = 8192
_SMALLEST_PROBABILITY = 1e-12


def teach(plan: TrainPlan, store: ModelStore) -> TrainPlan:
    """Put a teacher's answers into the plan, asking it unless this run already has.

    Writes `teacher.json` (who) and `teacher.npy` (what; float32, one row per training row) into
    the run's directory. A plan without distillation comes back as it is.

    Raises:
        SpecError: The teacher predicts something else.
        NotFoundError, IntegrityError: There is no such model, or it is damaged.
    """
    distillation = plan.spec.distillation
    if distillation is None:
        return plan
    run_dir = Path(plan.run_dir)
    answers = run_dir / SOFT_TARGETS_FILE
    if (run_dir / TEACHER_FILE).is_file() and answers.is_file():
        # A resumed run keeps its teacher, wherever the alias has moved since.
        teacher = Teacher.load(run_dir / TEACHER_FILE)
    else:
        version = store.resolve(distillation.teacher)
        _ask(plan, version, answers)
        teacher = Teacher(
            name=version.name, version=version.version, fingerprint=version.fingerprint
        )
        teacher.save(run_dir / TEACHER_FILE)
    return plan.model_copy(update={"soft_targets": str(answers), "teacher": teacher})


def _ask(plan: TrainPlan, version: ModelVersion, destination: Path) -> None:
    bundle = load_bundle(Path(version.path), fingerprint=version.fingerprint)
    target = plan.preprocessing.target
    _require_same_question(bundle, target, version.reference)
    predictor = bundle.predictor()
    table = load_split(Path(plan.dataset_dir), plan.dataset, Split.TRAIN)
    temporary = destination.with_name(f".{destination.name}")
    answers = np.lib.format.open_memmap(
        temporary,
        mode="w+",
        dtype=np.float32,
        shape=(table.num_rows, plan.preprocessing.num_outputs),
    )
    for first in range(0, table.num_rows, _CHUNK_ROWS):
        rows: pa.Table = table.slice(first, _CHUNK_ROWS)
        answers[first : first + rows.num_rows] = soft_targets(predictor.predict_table(rows), target)
    answers.flush()
    temporary.replace(destination)


def soft_targets(predictions: Predictions, target: Target) -> np.ndarray:
    """A teacher's predictions as outputs of the student's own kind, float32 (N, num_outputs).

    Classes: log-probabilities, which are logits up to a constant that softmax ignores. Numbers:
    standardised as the student's target is.
    """
    if isinstance(target, NumberTarget):
        standardised = (predictions.values - target.mean) / target.std
        return standardised.astype(np.float32)[:, None]
    clipped = np.maximum(predictions.probabilities, _SMALLEST_PROBABILITY)
    logits: np.ndarray = np.log(clipped).astype(np.float32)
    return logits


def _require_same_question(bundle: Bundle, target: Target, reference: str) -> None:
    theirs = bundle.preprocessing.target
    same = theirs.kind == target.kind and theirs.column == target.column
    if isinstance(theirs, ClassTarget) and isinstance(target, ClassTarget):
        same = same and theirs.classes == target.classes
    if not same:
        raise SpecError(
            f"distillation.teacher: {reference} predicts something else",
            why=f"it answers {theirs.kind} of {theirs.column!r}, this run learns {target.kind} of "
            f"{target.column!r}, or their classes differ",
            fix="use a teacher that was trained for the same target",
        )
