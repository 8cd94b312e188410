"""Final weights are judged row by row, and the rows add up to the metrics of the split."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, mean_squared_error

from raymi.data.loading import load_split
from raymi.data.version import Split
from raymi.errors import IntegrityError
from raymi.models.catalog import build_model
from raymi.specs.rows import RowSourceName
from raymi.specs.train import TrainSpec
from raymi.train.events import EVENTS_FILE, read_events
from raymi.train.inputs import DeviceInputs
from raymi.train.launcher import SingleProcessLauncher
from raymi.train.loop import train_worker
from raymi.train.outcome import MODEL_FILE, OUTCOME_FILE, Outcome
from raymi.train.plan import TrainPlan
from raymi.train.row_scores import load_row_scores, row_slices, save_row_scores
from raymi.train.scoring import Scorer

TARGETS = ["shape", "price", "note"]
HELD_OUT = (Split.VALIDATION, Split.TEST)
CPU = torch.device("cpu")


def plan_of(make_run, run_dir: Path, target: str, **settings: object) -> TrainPlan:
    finished = make_run(target)
    result = finished.result
    run_dir.mkdir()
    return TrainPlan(
        run_id="run",
        run_dir=str(run_dir),
        spec=TrainSpec.from_document(result.spec | {"epochs": 2} | settings),
        dataset=finished.dataset,
        dataset_dir=str(next((finished.store_dir / "datasets" / "things").iterdir())),
        preprocessing=result.preprocessing,
        architecture=result.architecture,
        accelerator="cpu",
        micro_batch_size=16,
        row_source=RowSourceName.MEMORY_MAP,
        row_scores=HELD_OUT,
    )


@pytest.fixture(scope="module", params=TARGETS)
def trained(request, make_run, tmp_path_factory) -> TrainPlan:
    plan = plan_of(make_run, tmp_path_factory.mktemp("trained") / "run", request.param)
    train_worker(plan, SingleProcessLauncher())
    return plan


def final_model(plan: TrainPlan) -> torch.nn.Module:
    model = build_model(plan.architecture, plan.preprocessing)
    model.load_state_dict(load_file(Path(plan.run_dir) / MODEL_FILE))
    return model.eval()


def answers(plan: TrainPlan, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """What the final weights say about a split, in one pass, and what is true."""
    table = load_split(Path(plan.dataset_dir), plan.dataset, split)
    arrays = plan.preprocessing.prepare(plan.preprocessing.encode(table))
    with torch.no_grad():
        inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
        outputs = final_model(plan)(inputs).double()
    if plan.preprocessing.target.kind != "regression":
        outputs = torch.softmax(outputs, dim=-1)
    return outputs.numpy(), plan.preprocessing.encode_target(table)


def run_metrics(plan: TrainPlan, split: Split) -> dict[str, float]:
    scorer = Scorer(plan, DeviceInputs(plan.preprocessing, CPU), split, rank=0, world_size=1)
    return scorer.score(final_model(plan), CPU)


@pytest.mark.parametrize("split", HELD_OUT)
def test_rows_add_up_to_the_metrics_of_the_split(trained, split):
    rows = load_row_scores(Path(trained.run_dir), split)

    metrics = run_metrics(trained, split)

    mean = float(rows["score"].mean(dtype=np.float64))
    match trained.preprocessing.target.kind:
        case "classification":
            assert mean == pytest.approx(metrics["accuracy"])
        case "regression":
            assert math.sqrt(mean) == pytest.approx(metrics["rmse"])
        case "next_byte":
            mean = rows["score"].sum() / rows["count"].sum()
            assert mean == pytest.approx(metrics["loss"], rel=1e-5)


def test_the_metrics_of_the_run_are_those_of_its_validation_rows(trained):
    outcome = Outcome.load(Path(trained.run_dir) / OUTCOME_FILE)

    assert outcome.metrics == pytest.approx(run_metrics(trained, Split.VALIDATION))


@pytest.mark.parametrize("trained", ["shape"], indirect=True)
def test_rows_of_a_classifier_agree_with_scikit_learn(trained):
    rows = load_row_scores(Path(trained.run_dir), Split.TEST)
    probabilities, truth = answers(trained, Split.TEST)
    labels = [0, 1]

    brier = brier_score_loss(truth, probabilities, labels=labels, scale_by_half=False)
    assert rows["score"].mean() == pytest.approx(accuracy_score(truth, probabilities.argmax(1)))
    assert rows["brier"].mean() == pytest.approx(brier, rel=1e-5)
    assert rows["confidence"] == pytest.approx(probabilities.max(axis=1), rel=1e-5)


@pytest.mark.parametrize("trained", ["price"], indirect=True)
def test_rows_of_a_regression_are_in_the_target_s_own_unit(trained):
    rows = load_row_scores(Path(trained.run_dir), Split.TEST)
    outputs, _ = answers(trained, Split.TEST)
    table = load_split(Path(trained.dataset_dir), trained.dataset, Split.TEST)
    prices = table.column("price").to_numpy()
    predicted = trained.preprocessing.target.values(outputs[:, 0])

    assert rows["score"] == pytest.approx((predicted - prices) ** 2, rel=1e-3, abs=1e-4)
    assert rows["score"].mean() == pytest.approx(mean_squared_error(prices, predicted), rel=1e-5)


@pytest.mark.parametrize("trained", ["note"], indirect=True)
def test_rows_of_a_text_are_the_log_loss_of_their_bytes(trained):
    rows = load_row_scores(Path(trained.run_dir), Split.TEST)
    probabilities, truth = answers(trained, Split.TEST)

    for row, (foreseen, following) in enumerate(zip(probabilities, truth, strict=True)):
        counts = following >= 0
        loss = log_loss(
            following[counts], foreseen[counts], labels=list(range(256)), normalize=False
        )
        assert rows["count"][row] == counts.sum()
        assert rows["score"][row] == pytest.approx(loss, rel=1e-5)


def test_averaged_weights_are_what_is_judged(make_run, tmp_path):
    plan = plan_of(make_run, tmp_path / "run", "price", optimizer={"ema_decay": 0.99})
    train_worker(plan, SingleProcessLauncher())

    rows = load_row_scores(tmp_path / "run", Split.VALIDATION)

    rmse = run_metrics(plan, Split.VALIDATION)["rmse"]
    assert math.sqrt(rows["score"].mean()) == pytest.approx(rmse)


def test_rows_are_judged_in_the_precision_of_the_run(make_run, tmp_path):
    plan = plan_of(make_run, tmp_path / "run", "shape", precision="bf16_pure")
    train_worker(plan, SingleProcessLauncher())

    rows = load_row_scores(tmp_path / "run", Split.VALIDATION)

    [*_, epoch] = [
        event for event in read_events(tmp_path / "run" / EVENTS_FILE) if event["event"] == "epoch"
    ]
    assert rows["score"].mean() == pytest.approx(epoch["accuracy"])


def test_nothing_is_written_unless_it_is_asked_for(make_run, tmp_path):
    plan = plan_of(make_run, tmp_path / "run", "price").model_copy(update={"row_scores": ()})

    train_worker(plan, SingleProcessLauncher())

    assert list(tmp_path.glob("run/*.npz")) == []


@pytest.mark.parametrize("split", HELD_OUT)
def test_classes_are_named_as_an_evaluation_names_them(make_run, tmp_path, split):
    plan = plan_of(make_run, tmp_path / "run", "shape")

    names, index = row_slices(plan, split)

    table = load_split(Path(plan.dataset_dir), plan.dataset, split)
    labels = table.column("shape").to_pylist()
    assert [names[number] for number in index] == [f"shape={label}" for label in labels]


def test_a_regression_is_sliced_by_quarters_of_its_target(make_run, tmp_path):
    plan = plan_of(make_run, tmp_path / "run", "price")

    names, index = row_slices(plan, Split.TEST)

    table = load_split(Path(plan.dataset_dir), plan.dataset, Split.TEST)
    prices = table.column("price").to_numpy()
    sizes = np.bincount(index, minlength=4)
    tops = [prices[index == quarter].max() for quarter in range(3)]
    assert names[0] == "price, first quarter"
    assert max(sizes) - min(sizes) <= 1
    assert all(prices[index > quarter].min() >= top for quarter, top in enumerate(tops))


def test_a_text_is_sliced_by_quarters_of_its_rows(make_run, tmp_path):
    names, index = row_slices(plan_of(make_run, tmp_path / "run", "note"), Split.TEST)

    assert names[3] == "fourth quarter of the rows"
    assert index.tolist() == sorted(index.tolist())
    assert set(index.tolist()) == {0, 1, 2, 3}


def test_slices_of_two_splits_have_the_same_names(trained):
    assert row_slices(trained, Split.VALIDATION)[0] == row_slices(trained, Split.TEST)[0]


def test_scores_that_are_not_there_are_named(tmp_path):
    with pytest.raises(IntegrityError, match=r"row_scores\.test\.npz"):
        load_row_scores(tmp_path, Split.TEST)


def test_any_changed_byte_is_found_or_does_no_harm(tmp_path):
    scores, path, whole = saved(tmp_path)

    for place in range(whole.index(b"PK\x01\x02")):  # The list of contents at the end.
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            found = load_row_scores(tmp_path, Split.TEST)
        except IntegrityError:
            continue
        assert all(np.array_equal(found[name], scores[name]) for name in scores)


def test_a_file_that_was_cut_short_is_found_out(tmp_path):
    _, path, whole = saved(tmp_path)

    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(IntegrityError):
            load_row_scores(tmp_path, Split.TEST)


def saved(run_dir: Path) -> tuple[dict[str, np.ndarray], Path, bytes]:
    scores = {name: np.arange(3, dtype=np.float32) for name in ("score", "count")}
    save_row_scores(run_dir, Split.TEST, scores)
    path = run_dir / "row_scores.test.npz"
    return scores, path, path.read_bytes()


@pytest.mark.parametrize(
    "scores",
    [
        {"other": np.zeros(3, np.float32)},
        {"score": np.zeros(3)},
        {"score": np.zeros((3, 1), np.float32)},
        {"score": np.zeros(3, np.float32), "count": np.zeros(2, np.float32)},
    ],
    ids=["name", "type", "shape", "length"],
)
def test_arrays_that_nobody_could_have_scored_are_refused(tmp_path, scores):
    save_row_scores(tmp_path, Split.TEST, scores)

    with pytest.raises(IntegrityError):
        load_row_scores(tmp_path, Split.TEST)
