"""How noisy gradients are, is measured while training and changes nothing about it."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from raymi.data import stage as data_stage
from raymi.data.fitting import fit_preprocessing
from raymi.models.architecture import Architecture
from raymi.specs.data import DataSpec
from raymi.specs.rows import RowSourceName
from raymi.specs.train import TrainSpec
from raymi.train import noise_scale
from raymi.train.events import EVENTS_FILE, read_events
from raymi.train.launcher import SingleProcessLauncher
from raymi.train.loop import train_worker
from raymi.train.noise_scale import EVERY_STEPS, NoiseMeter, solve
from raymi.train.outcome import MODEL_FILE
from raymi.train.plan import TrainPlan
from raymi.train.row_choice import open_rows
from raymi.train.state import build_state

GLOBAL_BATCH = 32
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> TrainPlan:
    """A linear network on numbers that follow a line but for noise."""
    directory = tmp_path_factory.mktemp("line")
    draw = np.random.default_rng(0)
    x = draw.normal(size=(4000, 2))
    y = x @ [1.0, -2.0] + draw.normal(size=4000)
    table = pa.table({"a": x[:, 0], "b": x[:, 1], "y": y})
    pq.write_table(table, directory / "rows.parquet")
    data = {
        "name": "line",
        "root": str(directory),
        "sources": [{"path": "rows.parquet"}],
        "target": "y",
    }
    dataset = data_stage.run(DataSpec.from_document(data), store_dir=directory)
    spec = {
        "name": "line",
        "problem": "unused",
        "data": data,
        "batch": {"global_batch_size": GLOBAL_BATCH, "micro_batch_size": 4},
        # So small that the weights stay where they are.
        "optimizer": {"name": "sgd", "learning_rate": 1e-12},
        "epochs": 3,
    }
    return TrainPlan(
        run_id="run",
        run_dir=str(directory),
        spec=TrainSpec.from_document(spec),
        dataset=dataset,
        dataset_dir=str(next((directory / "datasets" / "line").iterdir())),
        preprocessing=fit_preprocessing(dataset, task="regression"),
        architecture=Architecture(name="mlp", arguments={"hidden": [], "dropout": 0.0}),
        accelerator="cpu",
        micro_batch_size=4,
        row_source=RowSourceName.MEMORY_MAP,
        measures_noise=True,
    )


def with_settings(plan: TrainPlan, run_dir: Path, **settings: object) -> TrainPlan:
    run_dir.mkdir()
    spec = plan.spec.model_dump(mode="json", exclude_unset=True) | settings
    return plan.model_copy(
        update={"spec": type(plan.spec).from_document(spec), "run_dir": str(run_dir)}
    )


def measured(plan: TrainPlan) -> list[dict[str, float]]:
    train_worker(plan, SingleProcessLauncher())
    events = read_events(Path(plan.run_dir) / EVENTS_FILE)
    return [event for event in events if event["event"] == "noise_scale"]


def gradients(plan: TrainPlan, epoch: int) -> np.ndarray:
    """Of each row's squared error at the initial weights, in order, (N, weights); closed form."""
    model = build_state(plan, CPU, world_size=1).model
    weight, bias = (parameter.detach().numpy() for parameter in model.parameters())
    parts = []
    for step in open_rows(plan, rank=0, num_workers=1).steps(epoch, 0):
        for batch in step.batches:
            counts = batch.weights > 0
            rows = batch.arrays["numbers"][counts].numpy()
            errors = rows @ weight[0] + bias[0] - batch.targets[counts].numpy()
            parts.append(2.0 * errors[:, None] * np.column_stack([rows, np.ones(len(rows))]))
    return np.concatenate(parts).astype(np.float64)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_the_estimate_is_near_that_of_all_rows(plan, tmp_path, monkeypatch, precision):
    monkeypatch.setattr(noise_scale, "EVERY_STEPS", 1)
    plan = with_settings(plan, tmp_path / "run", precision=precision, epochs=15)
    of_rows = gradients(plan, 0)

    [found] = measured(plan)

    # Some 1,300 micro-batches of 4 rows: a standard error of 8%.
    gradient_square = (of_rows.mean(axis=0) ** 2).sum()
    assert found["noise_trace"] == pytest.approx(of_rows.var(axis=0, ddof=1).sum(), rel=0.2)
    assert found["gradient_square"] == pytest.approx(gradient_square, rel=0.2)


def test_the_estimate_is_what_the_rows_of_the_measured_steps_say(plan, tmp_path):
    plan = with_settings(plan, tmp_path / "run")
    in_order = [gradients(plan, epoch) for epoch in range(plan.spec.epochs)]
    steps = [
        rows[start : start + GLOBAL_BATCH]
        for rows in in_order
        for start in range(0, len(rows), GLOBAL_BATCH)
    ]
    meter, small, large = NoiseMeter(global_batch_size=GLOBAL_BATCH, device=CPU), [], []
    for number, rows in enumerate(steps):
        if meter.starts(number, len(rows)):
            small.append((rows[:4].mean(axis=0) ** 2).sum())
            large.append((rows.mean(axis=0) ** 2).sum())

    [found] = measured(plan)

    trace = (np.mean(small) - np.mean(large)) / (1 / 4 - 1 / GLOBAL_BATCH)
    assert found["num_estimates"] == len(small)
    assert found["noise_trace"] == pytest.approx(trace, rel=1e-4)
    gradient_square = np.mean(large) - trace / GLOBAL_BATCH
    assert found["gradient_square"] == pytest.approx(gradient_square, rel=1e-4)


SETTINGS = [
    {},
    {"precision": "fp16"},
    {"precision": "fp16", "optimizer": {"max_gradient_norm": None}},
    {"precision": "bf16_pure"},
    {"optimizer": {"max_gradient_norm": None}},
    {"optimizer": {"ema_decay": 0.9, "max_gradient_norm": 0.1}},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_measuring_changes_no_bit_of_the_weights(plan, tmp_path, settings):
    optimizer = {"learning_rate": 0.01} | settings.get("optimizer", {})
    changes = settings | {"optimizer": optimizer, "epochs": 1}
    with_it = with_settings(plan, tmp_path / "with", **changes)
    without = with_settings(plan, tmp_path / "without", **changes).model_copy(
        update={"measures_noise": False}
    )

    assert len(measured(with_it)) == 1
    assert measured(without) == []

    left, right = (load_file(tmp_path / name / MODEL_FILE) for name in ("with", "without"))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_one_worker_without_accumulation_has_nothing_to_compare(plan, tmp_path):
    plan = with_settings(plan, tmp_path / "run", epochs=1)

    assert measured(plan.model_copy(update={"micro_batch_size": GLOBAL_BATCH})) == []


def test_a_run_too_short_to_measure_says_nothing(plan, tmp_path):
    assert measured(with_settings(plan, tmp_path / "run", max_steps=EVERY_STEPS - 1)) == []


@given(
    gradient_square=st.floats(0.0, 1e3),
    trace=st.floats(0.0, 1e3),
    small_rows=st.integers(1, 100),
    times=st.integers(2, 100),
)
def test_exact_squares_give_both_unknowns_back(gradient_square, trace, small_rows, times):
    large_rows = small_rows * times

    found = solve(
        gradient_square + trace / small_rows,
        gradient_square + trace / large_rows,
        small_rows=small_rows,
        large_rows=large_rows,
        num_estimates=1,
    )

    assert found.gradient_square == pytest.approx(gradient_square, rel=1e-6, abs=1e-6)
    assert found.noise_trace == pytest.approx(trace, rel=1e-6, abs=1e-6)


def meter() -> NoiseMeter:
    return NoiseMeter(global_batch_size=8, device=CPU)


def measure(noise: NoiseMeter, small: float, large: float, *, step: int = 9) -> None:
    noise.starts(step, 8)
    noise.small(torch.tensor(small), num_rows=2, scale=1.0)
    noise.large(torch.tensor(large))


def test_an_overflow_is_left_out():
    noise = meter()
    measure(noise, 3.0, 1.0)
    expected = noise.result(world_size=1, group=None)

    measure(noise, math.inf, math.nan, step=19)
    measure(noise, 3.0, math.inf, step=29)

    assert noise.result(world_size=1, group=None) == expected


def test_every_tenth_step_is_measured_and_a_partial_one_passed_over_for_the_next():
    noise = meter()

    due = [noise.starts(step, 7 if step == 29 else 8) for step in range(60)]

    assert [step for step, is_due in enumerate(due) if is_due] == [9, 19, 30, 40, 50]


def test_a_micro_batch_of_padding_says_nothing():
    noise = meter()
    noise.starts(EVERY_STEPS - 1, 8)
    noise.small(torch.tensor(1.0), num_rows=0, scale=1.0)
    noise.large(torch.tensor(1.0))

    assert noise.result(world_size=1, group=None) is None


def test_a_gradient_is_heard_once_and_as_a_whole():
    noise, network = meter(), torch.nn.Linear(1, 1)
    network.weight.data.fill_(2.0)
    noise.starts(EVERY_STEPS - 1, 8)

    noise.listen(network.parameters())
    network(torch.tensor([[3.0]])).sum().backward()
    noise.small(None, num_rows=2, scale=1.0)
    network(torch.tensor([[50.0]])).sum().backward()
    noise.large(torch.tensor(4.0))

    # Of 3 x weight + bias.
    expected = solve(3.0**2 + 1.0, 4.0, small_rows=2, large_rows=8, num_estimates=1)
    assert noise.result(world_size=1, group=None) == expected
