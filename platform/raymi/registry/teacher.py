"""What a registered model says about every training row: the soft targets of distillation.

The teacher is asked once, before training, so that a run costs what it costs without one, and
resuming or repeating it meets the same answers.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from raymi.data.loading import load_split
from raymi.data.preprocessing import ClassTarget, NextByteTarget, NumberTarget, Target
from raymi.data.version import DatasetVersion
from raymi.errors import SpecError
from raymi.evaluate.predictor import Predictions
from raymi.registry.bundle import Bundle, load_bundle
from raymi.registry.protocol import ModelStore
from raymi.registry.version import ModelVersion
from raymi.specs.data import Split
from raymi.train.plan import Teacher, TrainPlan

TEACHER_FILE = "teacher.json"
SOFT_TARGETS_FILE = "teacher.npy"

CHUNK_ROWS = 8192
"""Training rows that are in memory at a time."""

_SMALLEST_PROBABILITY = np.finfo(np.float32).tiny
"""A probability that rounded to 0 has no logarithm."""


def teach(plans: Sequence[TrainPlan], store: ModelStore) -> list[TrainPlan]:
    """Put teachers' answers into plans.

    Writes `teacher.json` (who) and `teacher.npy` (what; float32, one row per training row) into
    each run's directory, unless a run already has them. Plans of one call that have the same
    teacher, rows and target share one file, and an alias means the same version to all of them.
    Plans without distillation come back as they are.

    Raises:
        SpecError: A teacher predicts something else, or cannot read these rows.
        NotFoundError, IntegrityError: There is no such model, or it is damaged.
        OSError: The answers cannot be written; nothing is left that could be taken for them.
    """
    teachers = _Teachers(store)
    return [teachers.teach(plan) for plan in plans]


def soft_targets(predictions: Predictions, target: Target) -> np.ndarray:
    """A teacher's predictions as outputs of the student's own kind, float32 (N, num_outputs).

    Classes: log-probabilities, which are logits up to a constant that softmax ignores. Numbers:
    standardised as the student's target is.
    """
    if isinstance(target, NumberTarget):
        standardised = (predictions.values - target.mean) / target.std
        return standardised.astype(np.float32)[:, None]
    logits: np.ndarray = np.log(np.maximum(predictions.probabilities, _SMALLEST_PROBABILITY))
    return logits.astype(np.float32)


class _Teachers:
    """The teachers of some runs: each reference is looked up once, each question asked once."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._versions: dict[str, ModelVersion] = {}
        self._answers: dict[tuple[str, str, Target], Path] = {}

    def teach(self, plan: TrainPlan) -> TrainPlan:
        """Put the answers of its teacher into a plan, if it has one."""
        distillation = plan.spec.distillation
        if distillation is None:
            return plan
        run_dir = Path(plan.run_dir)
        answers = run_dir / SOFT_TARGETS_FILE
        if (run_dir / TEACHER_FILE).is_file() and answers.is_file():
            # A resumed run keeps its teacher, wherever the alias has moved since.
            teacher = Teacher.load(run_dir / TEACHER_FILE)
        else:
            version = self._version(distillation.teacher)
            self._answer(plan, version, answers)
            teacher = Teacher(
                name=version.name, version=version.version, fingerprint=version.fingerprint
            )
            teacher.save(run_dir / TEACHER_FILE)
        return plan.model_copy(update={"soft_targets": str(answers), "teacher": teacher})

    def _version(self, reference: str) -> ModelVersion:
        if reference not in self._versions:
            self._versions[reference] = self._store.resolve(reference)
        return self._versions[reference]

    def _answer(self, plan: TrainPlan, version: ModelVersion, destination: Path) -> None:
        question = (version.fingerprint, plan.dataset.fingerprint, plan.preprocessing.target)
        if question in self._answers:
            _share(self._answers[question], destination)
        else:
            _ask(plan, version, destination)
            self._answers[question] = destination


def _ask(plan: TrainPlan, version: ModelVersion, destination: Path) -> None:
    target = plan.preprocessing.target
    bundle = load_bundle(Path(version.path), fingerprint=version.fingerprint)
    _require_same_question(bundle, target, version.reference)
    _require_columns(bundle, plan.dataset, version.reference)
    predictor = bundle.predictor()
    table = load_split(Path(plan.dataset_dir), plan.dataset, Split.TRAIN)
    chunks = (
        soft_targets(predictor.predict_table(table.slice(first, CHUNK_ROWS)), target)
        for first in range(0, table.num_rows, CHUNK_ROWS)
    )
    _write(destination, chunks, shape=(table.num_rows, plan.preprocessing.num_outputs))


def _write(destination: Path, chunks: Iterator[np.ndarray], *, shape: tuple[int, int]) -> None:
    """A `.npy` file that appears whole or not at all.

    Written, not memory-mapped: a full disk is then an error and not a dead process.
    """
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with _appearing(destination) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in chunks:
            file.write(np.ascontiguousarray(chunk, dtype="<f4").data)
        file.flush()
        os.fsync(file.fileno())


def _share(answers: Path, destination: Path) -> None:
    """Give another run the same answers; nobody changes them, so one copy on disk will do."""
    with _appearing(destination) as temporary:
        try:
            os.link(answers, temporary)
        except OSError:
            # Object stores and some network file systems have no links.
            shutil.copyfile(answers, temporary)


@contextmanager
def _appearing(destination: Path) -> Iterator[Path]:
    """Where to write what is to be there whole or not at all."""
    # Not a random name: what a killed process leaves is removed by the next.
    temporary = destination.with_name(f".{destination.name}")
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)


def _require_same_question(bundle: Bundle, target: Target, reference: str) -> None:
    theirs = bundle.preprocessing.target
    if isinstance(target, NextByteTarget):
        raise SpecError(
            f"distillation.teacher: {reference} cannot teach a next_byte model",
            why="its answer for every byte of every row would not fit anywhere",
            fix="remove `distillation` from the spec",
        )
    same = theirs.kind == target.kind and theirs.column == target.column
    if isinstance(theirs, ClassTarget) and isinstance(target, ClassTarget):
        same = same and theirs.classes == target.classes
    if not same:
        raise SpecError(
            f"distillation.teacher: {reference} predicts something else",
            why=f"it answers {_described(theirs)}, this run learns {_described(target)}",
            fix="use a teacher that was trained for the same target",
        )


def _described(target: Target) -> str:
    text = f"{target.kind} of {target.column!r}"
    if isinstance(target, ClassTarget):
        shown = ", ".join(map(str, target.classes[:5]))
        more = ", ..." if len(target.classes) > 5 else ""
        text += f" ({len(target.classes)} classes: {shown}{more})"
    return text


def _require_columns(bundle: Bundle, dataset: DatasetVersion, reference: str) -> None:
    columns = {column.name: column for column in dataset.columns}
    for field in bundle.signature.inputs:
        column = columns.get(field.name)
        if column is None:
            trouble = "has no such column"
        elif (column.type == "string") != (field.datatype == "BYTES"):
            trouble = f"has {column.type} there"
        elif field.kind == "tensor" and column.shape != field.shape:
            trouble = f"has the shape {list(column.shape)} there"
        else:
            continue
        wanted = f"{field.datatype} {list(field.shape)}" if field.shape else field.datatype
        raise SpecError(
            f"distillation.teacher: {reference} cannot read dataset {dataset.name}",
            why=f"it reads {wanted} from {field.name!r}, and the dataset {trouble}",
            fix="use a teacher that was trained on rows with the same columns",
        )
