"""A teacher's answers are its own, row by row, asked once, and appear whole or not at all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raymi.data.library import open_dataset
from raymi.data.loading import load_split
from raymi.data.preprocessing import NumberTarget
from raymi.errors import NotFoundError, SpecError
from raymi.evaluate.predictor import Predictions, Predictor
from raymi.registry import teacher as module
from raymi.registry.bundle import load_bundle
from raymi.registry.teacher import SOFT_TARGETS_FILE, TEACHER_FILE, soft_targets, teach
from raymi.specs.data import Split
from raymi.specs.rows import RowSourceName
from raymi.specs.train import TrainSpec
from raymi.train.plan import TrainPlan

CHUNK_ROWS = 50
CPU = torch.device("cpu")


@pytest.fixture
def plan_of(tmp_path, monkeypatch):
    """Plan a student of a finished run's data and target: `plan_of(run, "student")`."""
    monkeypatch.setattr(module, "CHUNK_ROWS", CHUNK_ROWS)

    def make(run, run_id="student", *, teacher="things@1", **changes) -> TrainPlan:
        run_dir = tmp_path / run_id
        run_dir.mkdir(exist_ok=True)
        dataset, directory = open_dataset(run.store_dir, "things")
        spec = {
            "name": "student",
            "problem": "unused",
            "data": "things",
            "batch": {"global_batch_size": 32, "micro_batch_size": 32},
            "distillation": {"teacher": teacher} if teacher else None,
        }
        plan = TrainPlan(
            run_id=run_id,
            run_dir=str(run_dir),
            spec=TrainSpec.from_document(spec),
            dataset=dataset,
            dataset_dir=str(directory),
            preprocessing=run.result.preprocessing,
            architecture=run.result.architecture,
            accelerator="cpu",
            micro_batch_size=32,
            row_source=RowSourceName.MEMORY_MAP,
        )
        return plan.model_copy(update=changes)

    return make


def training_rows(plan):
    return load_split(Path(plan.dataset_dir), plan.dataset, Split.TRAIN)


def three_lines(error) -> bool:
    return all([error.what, error.why, error.fix])


def test_answers_are_the_teachers_probabilities_in_the_order_of_the_rows(
    classifier_run, store, enrol, plan_of
):
    version = enrol(classifier_run)
    plan = plan_of(classifier_run)
    rows = training_rows(plan)
    assert rows.num_rows > 2 * CHUNK_ROWS
    predictor = load_bundle(Path(version.path)).predictor(CPU)
    expected = np.concatenate([
        predictor.predict_table(rows.slice(row, 1)).probabilities for row in range(rows.num_rows)
    ])  # fmt: skip

    [taught] = teach([plan], store)

    answers = np.load(taught.soft_targets)
    assert answers.dtype == np.float32
    # The teacher computes in bf16, one row or fifty at a time.
    np.testing.assert_allclose(np.exp(answers), expected, atol=0.01)
    assert np.ptp(expected[:, 0]) > 0.1


def test_answers_about_numbers_are_the_teachers_in_the_students_standard(
    regression_run, store, enrol, plan_of
):
    version = enrol(regression_run)
    own = regression_run.result.preprocessing
    target = NumberTarget(column="price", mean=own.target.mean + 5.0, std=own.target.std * 2.0)
    plan = plan_of(regression_run, preprocessing=own.model_copy(update={"target": target}))
    predictor = load_bundle(Path(version.path)).predictor(CPU)
    expected = predictor.predict_table(training_rows(plan)).values

    [taught] = teach([plan], store)

    answers = np.load(taught.soft_targets)
    assert answers.shape == (len(expected), 1)
    np.testing.assert_allclose(target.values(answers[:, 0]), expected, rtol=1e-5)


def test_softening_a_probability_that_rounded_to_zero_stays_finite(classifier_run):
    target = classifier_run.result.preprocessing.target
    certain = Predictions(target, np.array([[1.0, 0.0]], dtype=np.float32))

    [[sure, unlikely]] = soft_targets(certain, target)

    assert sure == 0.0
    assert -100.0 < unlikely < -80.0


def test_the_teacher_is_named_by_what_its_alias_meant(classifier_run, store, enrol, plan_of):
    version = enrol(classifier_run)

    [taught] = teach([plan_of(classifier_run, teacher="things@candidate")], store)

    assert taught.teacher.model_dump() == {
        "name": "things", "version": 1, "fingerprint": version.fingerprint
    }  # fmt: skip


def test_a_resumed_run_keeps_its_teacher_although_the_alias_has_moved(
    classifier_run, make_run, store, enrol, plan_of
):
    enrol(classifier_run)
    plan = plan_of(classifier_run, teacher="things@candidate")
    [before] = teach([plan], store)
    answers = Path(before.soft_targets).read_bytes()
    enrol(make_run(run_id="run-2"))
    assert store.resolve("things@candidate").version == 2

    [after] = teach([plan], store)

    assert after == before
    assert Path(after.soft_targets).read_bytes() == answers


def test_a_run_without_a_teacher_is_left_alone(classifier_run, store, plan_of):
    plan = plan_of(classifier_run, teacher=None)

    assert teach([plan], store) == [plan]
    assert list(Path(plan.run_dir).iterdir()) == []


def test_runs_with_the_same_rows_and_target_ask_once(
    classifier_run, store, enrol, plan_of, monkeypatch
):
    enrol(classifier_run)
    asked = []
    honest = Predictor.predict_table
    monkeypatch.setattr(
        Predictor,
        "predict_table",
        lambda self, table: asked.append(table.num_rows) or honest(self, table),
    )
    plans = [plan_of(classifier_run, f"trial-{index}") for index in range(3)]

    taught = teach([*plans, plan_of(classifier_run, "plain", teacher=None)], store)

    assert sum(asked) == training_rows(plans[0]).num_rows
    files = [Path(plan.soft_targets) for plan in taught[:3]]
    assert [file.parent.name for file in files] == ["trial-0", "trial-1", "trial-2"]
    assert len({file.read_bytes() for file in files}) == 1
    assert len({plan.teacher for plan in taught[:3]}) == 1
    assert taught[3].soft_targets is None


def test_runs_with_other_teachers_get_their_own_answers(
    classifier_run, make_run, store, enrol, plan_of
):
    enrol(classifier_run)
    enrol(make_run(run_id="run-2"))
    plans = [
        plan_of(classifier_run, "one", teacher="things@1"),
        plan_of(classifier_run, "two", teacher="things@2"),
    ]

    taught = teach(plans, store)

    assert [plan.teacher.version for plan in taught] == [1, 2]


def test_a_run_killed_while_asking_leaves_nothing_that_could_be_taken_for_answers(
    classifier_run, store, enrol, plan_of, monkeypatch
):
    enrol(classifier_run)
    plan = plan_of(classifier_run)
    honest = Predictor.predict_table
    num_chunks = []

    def killed(self, table):
        num_chunks.append(1)
        if len(num_chunks) == 2:
            raise KeyboardInterrupt
        return honest(self, table)

    monkeypatch.setattr(Predictor, "predict_table", killed)
    with pytest.raises(KeyboardInterrupt):
        teach([plan], store)
    assert list(Path(plan.run_dir).iterdir()) == []

    [taught] = teach([plan], store)

    assert len(np.load(taught.soft_targets)) == training_rows(plan).num_rows
    assert sorted(p.name for p in Path(plan.run_dir).iterdir()) == [
        TEACHER_FILE, SOFT_TARGETS_FILE
    ]  # fmt: skip


def test_answers_without_a_name_are_asked_for_again(classifier_run, store, enrol, plan_of):
    enrol(classifier_run)
    plan = plan_of(classifier_run)
    [taught] = teach([plan], store)
    answers = Path(taught.soft_targets).read_bytes()
    (Path(plan.run_dir) / TEACHER_FILE).unlink()
    Path(taught.soft_targets).write_bytes(b"of somebody else")

    teach([plan], store)

    assert Path(taught.soft_targets).read_bytes() == answers


def test_where_there_are_no_links_answers_are_copied(
    classifier_run, store, enrol, plan_of, monkeypatch
):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(module.os, "link", refuse)
    enrol(classifier_run)

    one, two = teach([plan_of(classifier_run, "one"), plan_of(classifier_run, "two")], store)

    assert Path(one.soft_targets).read_bytes() == Path(two.soft_targets).read_bytes()


def test_a_teacher_of_another_target_is_refused(
    classifier_run, regression_run, store, enrol, plan_of
):
    enrol(regression_run)
    plan = plan_of(classifier_run)

    with pytest.raises(SpecError, match="predicts something else") as caught:
        teach([plan], store)

    assert three_lines(caught.value)
    assert "regression of 'price'" in caught.value.why
    assert list(Path(plan.run_dir).iterdir()) == []


def test_a_teacher_of_other_classes_is_refused(classifier_run, store, enrol, plan_of):
    enrol(classifier_run)
    own = classifier_run.result.preprocessing
    target = own.target.model_copy(update={"classes": ("oval", "round")})
    plan = plan_of(classifier_run, preprocessing=own.model_copy(update={"target": target}))

    with pytest.raises(SpecError, match="predicts something else") as caught:
        teach([plan], store)

    assert "round, square" in caught.value.why
    assert "oval, round" in caught.value.why


def test_a_text_model_has_no_teacher(text_run, store, enrol, plan_of):
    enrol(text_run)

    with pytest.raises(SpecError, match="next_byte"):
        teach([plan_of(text_run)], store)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"name": "length"}, "no such column"),
        ({"type": "string"}, "has string there"),
    ],
)
def test_a_teacher_that_cannot_read_the_rows_is_refused(
    classifier_run, store, enrol, plan_of, change, why
):
    enrol(classifier_run)
    plan = plan_of(classifier_run)
    columns = tuple(
        column.model_copy(update=change) if column.name == "size" else column
        for column in plan.dataset.columns
    )
    other = plan.dataset.model_copy(update={"columns": columns})

    with pytest.raises(SpecError, match="cannot read") as caught:
        teach([plan.model_copy(update={"dataset": other})], store)

    assert why in caught.value.why


def test_an_image_of_another_shape_is_refused(classifier_run, store, enrol, plan_of):
    enrol(classifier_run)
    plan = plan_of(classifier_run)
    columns = tuple(
        column.model_copy(update={"shape": (3, 3)}) if column.name == "pixels" else column
        for column in plan.dataset.columns
    )
    other = plan.dataset.model_copy(update={"columns": columns})

    with pytest.raises(SpecError, match="cannot read") as caught:
        teach([plan.model_copy(update={"dataset": other})], store)

    assert "[3, 3]" in caught.value.why


def test_an_unknown_teacher_is_not_found(classifier_run, store, plan_of):
    with pytest.raises(NotFoundError):
        teach([plan_of(classifier_run, teacher="nobody@champion")], store)


def test_a_bundle_says_who_taught_it(make_run, enrol, plan_of, store):
    teacher = enrol(make_run())
    student = make_run(run_id="run-2")
    [plan] = teach([plan_of(student)], store)
    taught = student.result.model_copy(update={"teacher": plan.teacher})

    version = enrol(replace(student, result=taught))

    lineage = load_bundle(Path(version.path)).lineage
    assert lineage.teacher == plan.teacher
    assert lineage.teacher.fingerprint == teacher.fingerprint
    assert load_bundle(Path(teacher.path)).lineage.teacher is None
