"""A run learns what its teacher says, resumes with it, and says who it was."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from raymi.data import stage as data_stage
from raymi.data.fitting import fit_preprocessing
from raymi.data.library import open_dataset
from raymi.data.loading import load_split
from raymi.errors import SpecError
from raymi.evaluate.predictor import load_predictor
from raymi.models.architecture import Architecture
from raymi.specs.data import DataSpec, SourceSpec, Split
from raymi.specs.precision import Precision
from raymi.specs.rows import RowSourceName
from raymi.specs.train import TrainSpec
from raymi.train.completion import finish
from raymi.train.events import EVENTS_FILE, EventLog
from raymi.train.launcher import SingleProcessLauncher
from raymi.train.loop import train_worker
from raymi.train.outcome import MODEL_FILE, OUTCOME_FILE, Outcome
from raymi.train.plan import Teacher, TrainPlan
from raymi.train.report import write_report
from raymi.train.result import Provenance
from raymi.train.run_files import RESULT_FILE
from raymi.train.teaching import taught

BIG = Teacher(name="big", version=3, fingerprint="f" * 64)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Points in a plane whose labels are coin tosses."""
    directory = tmp_path_factory.mktemp("coins")
    draw = np.random.default_rng(0)
    points, coins = draw.normal(size=(900, 2)), draw.integers(0, 2, 900)
    lines = [f"{x:.5f},{y:.5f},{'ab'[coin]}" for (x, y), coin in zip(points, coins, strict=True)]
    (directory / "coins.csv").write_text("\n".join(["x,y,label", *lines]) + "\n")
    spec = DataSpec(
        name="coins", root=str(directory), sources=(SourceSpec(path="coins.csv"),), target="label"
    )
    data_stage.run(spec, store_dir=directory)
    return directory


def truth(table) -> np.ndarray:
    """What the teacher knows: `a` below the line x = y."""
    return table.column("x").to_numpy() > table.column("y").to_numpy()


@pytest.fixture
def plan(store, tmp_path) -> TrainPlan:
    """A student of a teacher that is sure and right about every row."""
    dataset, directory = open_dataset(store, "coins")
    is_a = truth(load_split(directory, dataset, Split.TRAIN))
    np.save(
        tmp_path / "teacher.npy", np.where(is_a[:, None], [0.0, -9.0], [-9.0, 0.0]).astype("f4")
    )
    spec = {
        "name": "student",
        "problem": "unused",
        "data": "coins",
        "batch": {"global_batch_size": 32, "micro_batch_size": 16},
        "optimizer": {"learning_rate": 0.01},
        "distillation": {"teacher": "big@champion", "weight": 1.0},
        "epochs": 4,
    }
    (tmp_path / "run").mkdir()
    return TrainPlan(
        run_id="run",
        run_dir=str(tmp_path / "run"),
        spec=TrainSpec.from_document(spec),
        dataset=dataset,
        dataset_dir=str(directory),
        preprocessing=fit_preprocessing(dataset),
        architecture=Architecture(name="mlp", arguments={"hidden": [16], "dropout": 0.1}),
        accelerator="cpu",
        micro_batch_size=16,
        row_source=RowSourceName.MEMORY_MAP,
        soft_targets=str(tmp_path / "teacher.npy"),
        teacher=BIG,
    )


def share_right(plan: TrainPlan) -> float:
    """Of the test rows, how many the student answers as the teacher would."""
    table = load_split(Path(plan.dataset_dir), plan.dataset, Split.TEST)
    predictor = load_predictor(
        Path(plan.run_dir) / MODEL_FILE, plan.architecture, plan.preprocessing,
        precision=Precision.FP32, device=torch.device("cpu"),
    )  # fmt: skip
    return float(((predictor.predict_table(table).indices == 0) == truth(table)).mean())


def test_a_student_of_random_labels_learns_what_its_teacher_knows(plan):
    train_worker(plan, SingleProcessLauncher())

    assert share_right(plan) > 0.95


def test_without_the_teacher_there_is_nothing_to_learn(plan):
    alone = plan.spec.model_copy(update={"distillation": None})
    plan = plan.model_copy(update={"spec": alone, "soft_targets": None, "teacher": None})

    train_worker(plan, SingleProcessLauncher())

    assert share_right(plan) < 0.8


def test_a_resumed_student_ends_as_an_undisturbed_one(plan, tmp_path):
    (tmp_path / "resumed").mkdir()
    resumed = plan.model_copy(update={"run_dir": str(tmp_path / "resumed")})

    train_worker(plan, SingleProcessLauncher())
    train_worker(resumed, SingleProcessLauncher(stop_after_steps=30))
    train_worker(resumed, SingleProcessLauncher())

    expected, found = (load_file(Path(p.run_dir) / MODEL_FILE) for p in (plan, resumed))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_result_and_the_page_name_the_teacher(plan):
    train_worker(plan, SingleProcessLauncher())
    provenance = Provenance.model_validate(
        {"git_commit": None, "code_package": None, "environment": {}, "hardware": {},
         "started_at": "2026-01-01T00:00:00Z"}
    )  # fmt: skip

    run_dir = Path(plan.run_dir)
    finish(plan, Outcome.load(run_dir / OUTCOME_FILE), attempts=1, provenance=provenance)

    assert json.loads((run_dir / RESULT_FILE).read_text())["teacher"] == BIG.model_dump()
    assert "big@3" in (run_dir / "report.html").read_text()


def test_the_page_of_a_run_that_has_not_ended_has_no_teacher_yet(tmp_path):
    EventLog(tmp_path / EVENTS_FILE).append("attempt", step=0)

    assert "teacher" not in write_report(tmp_path).read_text()


def test_a_run_whose_teacher_nobody_can_ask_is_refused(plan):
    with pytest.raises(SpecError, match="cannot be asked from here"):
        taught([plan], None)


def test_runs_without_teachers_need_nobody_to_ask(plan):
    alone = plan.model_copy(
        update={"spec": plan.spec.model_copy(update={"distillation": None}), "soft_targets": None}
    )

    assert taught([alone], None) == [alone]


def test_all_runs_are_handed_to_whoever_asks_in_one_call(plan):
    calls = []

    taught([plan, plan], lambda plans: calls.append(len(plans)) or list(plans))

    assert calls == [2]
