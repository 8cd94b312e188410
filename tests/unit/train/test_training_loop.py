"""The loop computes the same run however it is cut, stopped and resumed; in one process here."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from raymi.accelerators.catalog import CPU
from raymi.data import stage as data_stage
from raymi.data.fitting import fit_preprocessing
from raymi.data.library import open_dataset
from raymi.data.version import Split
from raymi.errors import IntegrityError, TrainingError
from raymi.models.architecture import Architecture
from raymi.models.catalog import CATALOG
from raymi.specs.data import DataSpec, SourceSpec
from raymi.specs.rows import RowSourceName
from raymi.specs.train import TrainSpec
from raymi.train.completion import finish
from raymi.train.events import EVENTS_FILE, read_events
from raymi.train.launcher import SingleProcessLauncher
from raymi.train.loop import Ending, train_worker
from raymi.train.outcome import MODEL_FILE, OUTCOME_FILE, Outcome
from raymi.train.plan import TrainPlan
from raymi.train.provenance import collect_provenance
from raymi.train.telemetry import RankTelemetry, rank_files

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Two dense blobs of points: easy to learn, 203 rows so that the last step is ragged."""
    directory = tmp_path_factory.mktemp("blobs")
    generator = torch.Generator().manual_seed(0)
    lines = ["x,y,kind"]
    for row in range(290):
        centre = 2.0 if row % 2 else -2.0
        x, y = (torch.randn(2, generator=generator) + centre).tolist()
        lines.append(f"{x:.5f},{y:.5f},{'high' if row % 2 else 'low'}")
    (directory / "blobs.csv").write_text("\n".join(lines) + "\n")
    data_stage.run(
        DataSpec(
            name="blobs",
            root=str(directory),
            sources=(SourceSpec(path="blobs.csv"),),
            target="kind",
        ),
        store_dir=directory,
    )
    return directory


def plan_of(store: Path, run_dir: Path, **changes: object) -> TrainPlan:
    document: dict[str, object] = {
        "name": "blobs",
        "problem": "unused",
        "data": "blobs",
        "batch": {"global_batch_size": 32, "micro_batch_size": 32},
        "optimizer": {"learning_rate": 0.01},
        "epochs": 3,
    }
    dataset, directory = open_dataset(store, "blobs")
    run_dir.mkdir(exist_ok=True)
    spec = TrainSpec.from_document(document | changes)
    return TrainPlan(
        run_id=run_dir.name,
        run_dir=str(run_dir),
        spec=spec,
        dataset=dataset,
        dataset_dir=str(directory),
        preprocessing=fit_preprocessing(dataset),
        architecture=Architecture(name="mlp", arguments={"hidden": [16], "dropout": 0.0}),
        accelerator="cpu",
        micro_batch_size=spec.batch.micro_batch_size,
        row_source=RowSourceName.MEMORY_MAP,
    )


def train(
    plan: TrainPlan, launcher: SingleProcessLauncher | None = None
) -> dict[str, torch.Tensor]:
    train_worker(plan, launcher or SingleProcessLauncher())
    return load_file(Path(plan.run_dir) / MODEL_FILE)


def losses(plan: TrainPlan) -> list[float]:
    events = read_events(Path(plan.run_dir) / EVENTS_FILE)
    return [event["train_loss"] for event in events if event["event"] == "epoch"]


def events(plan: TrainPlan, kind: str) -> list[dict[str, object]]:
    found = read_events(Path(plan.run_dir) / EVENTS_FILE)
    return [event for event in found if event["event"] == kind]


def equal(left: Weights, right: Weights) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_it_learns(store, tmp_path):
    plan = plan_of(store, tmp_path / "run")

    train(plan)

    assert Outcome.load(tmp_path / "run" / OUTCOME_FILE).metrics["accuracy"] > 0.9
    assert losses(plan)[-1] < losses(plan)[0]


def test_the_same_spec_gives_the_same_bits(store, tmp_path):
    first = train(plan_of(store, tmp_path / "first"))
    second = train(plan_of(store, tmp_path / "second"))

    assert equal(first, second)


def test_another_seed_gives_another_model(store, tmp_path):
    first = train(plan_of(store, tmp_path / "first"))
    second = train(plan_of(store, tmp_path / "second", seed=1))

    assert not equal(first, second)


@pytest.mark.parametrize("micro_batch_size", [1, 4, 16])
def test_the_loss_curve_does_not_move_with_the_micro_batch(store, tmp_path, micro_batch_size):
    whole = plan_of(store, tmp_path / "whole")
    cut = plan_of(
        store,
        tmp_path / "cut",
        batch={"global_batch_size": 32, "micro_batch_size": micro_batch_size},
    )

    train(whole)
    train(cut)

    assert losses(cut) == pytest.approx(losses(whole), rel=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "fp32"},
        {"precision": "bf16"},
        {"precision": "fp16"},
        {"precision": "bf16_pure"},
        {"precision": "bf16_pure", "optimizer": {"rounding": "stochastic"}},
        {"optimizer": {"ema_decay": 0.9}},
        {"optimizer": {"name": "sgd"}},
        {"max_steps": 13},
    ],
    ids=str,
)
def test_a_resumed_run_ends_with_the_weights_of_an_undisturbed_one(store, tmp_path, settings):
    undisturbed = train(plan_of(store, tmp_path / "undisturbed", **settings))
    plan = plan_of(store, tmp_path / "resumed", **settings)

    # Step 10 is in the middle of the second epoch.
    ending = train_worker(plan, SingleProcessLauncher(stop_after_steps=10))
    resumed = train(plan)

    assert ending is Ending.LEFT
    assert [event["step"] for event in events(plan, "attempt")] == [0, 10]
    assert equal(resumed, undisturbed)


def test_a_run_that_leaves_at_the_end_of_an_epoch_has_judged_it(store, tmp_path):
    undisturbed = plan_of(store, tmp_path / "undisturbed")
    plan = plan_of(store, tmp_path / "run")
    train(undisturbed)
    [last_step, *_] = [event["step"] for event in events(undisturbed, "epoch")]

    ending = train_worker(plan, SingleProcessLauncher(stop_after_steps=last_step))
    train(plan)

    assert ending is Ending.LEFT
    assert [event["step"] for event in events(plan, "left")] == [last_step]
    assert losses(plan) == losses(undisturbed)


def test_a_run_that_should_leave_at_its_very_end_finishes(store, tmp_path):
    plan = plan_of(store, tmp_path / "run", max_steps=10)

    ending = train_worker(plan, SingleProcessLauncher(stop_after_steps=10))

    assert ending is Ending.FINISHED
    assert events(plan, "left") == []


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(store, tmp_path):
    settings = {"checkpoint": {"every_steps": 5, "keep": 3}}
    undisturbed = train(plan_of(store, tmp_path / "undisturbed", **settings))
    plan = plan_of(store, tmp_path / "run", **settings)
    train_worker(plan, SingleProcessLauncher(stop_after_steps=12))
    newest = max((tmp_path / "run/checkpoints").iterdir()) / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])

    resumed = train(plan)

    [skipped] = events(plan, "checkpoint_skipped")
    assert skipped["path"] == str(newest.parent)
    assert events(plan, "attempt")[-1]["step"] == 10
    assert equal(resumed, undisturbed)


def test_a_checkpoint_of_another_spec_is_refused(store, tmp_path):
    plan = plan_of(store, tmp_path / "run", checkpoint={"every_steps": 5})
    train(plan)

    with pytest.raises(IntegrityError, match="another run"):
        train(plan_of(store, tmp_path / "run"))


def test_the_first_steps_are_compared_with_an_fp32_twin(store, tmp_path):
    plan = plan_of(store, tmp_path / "run", precision="bf16")

    train(plan)

    [report] = events(plan, "parity")
    assert report["agrees"]


def test_a_resumed_run_keeps_what_its_first_steps_were_like(store, tmp_path):
    plan = plan_of(store, tmp_path / "run", precision="bf16")
    train_worker(plan, SingleProcessLauncher(stop_after_steps=5))
    train(plan)

    outcome = Outcome.load(tmp_path / "run" / OUTCOME_FILE)
    provenance = collect_provenance(CPU, code_package=None)
    result = finish(plan, outcome, attempts=1, provenance=provenance)

    assert result.parity["agrees"]


def test_a_network_whose_operations_cannot_be_counted_trains_all_the_same(
    store, tmp_path, monkeypatch
):
    def build(preprocessing):
        return Looking(preprocessing.num_outputs)

    monkeypatch.setitem(CATALOG, "looking", build)
    plan = plan_of(store, tmp_path / "run").model_copy(
        update={"architecture": Architecture(name="looking")}
    )

    train(plan)

    [telemetry] = [RankTelemetry.load(path) for path in rank_files(tmp_path / "run")]
    assert telemetry.flops_per_sample is None
    assert telemetry.num_samples > 0


class Looking(nn.Module):
    """Reads a number in its forward pass, which tensors without memory do not have."""

    def __init__(self, num_outputs):
        super().__init__()
        self.head = nn.Linear(6, num_outputs)

    def forward(self, inputs):
        numbers = inputs["numbers"]
        return self.head(numbers * (2.0 if numbers.sum().item() > 0 else 1.0))


def test_the_average_of_the_weights_is_what_is_kept(store, tmp_path):
    plain = train(plan_of(store, tmp_path / "plain"))
    averaged = train(plan_of(store, tmp_path / "averaged", optimizer={"ema_decay": 0.9}))

    assert plain.keys() == averaged.keys()
    assert not equal(plain, averaged)


def test_bf16_weights_are_kept_as_fp32(store, tmp_path):
    weights = train(plan_of(store, tmp_path / "run", precision="bf16_pure"))

    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_max_steps_ends_a_run_within_an_epoch(store, tmp_path):
    train(plan_of(store, tmp_path / "run", max_steps=10))

    assert Outcome.load(tmp_path / "run" / OUTCOME_FILE).num_steps == 10


def test_a_smaller_micro_batch_of_the_plan_gives_the_same_run(store, tmp_path):
    whole = plan_of(store, tmp_path / "whole")
    shrunk = plan_of(store, tmp_path / "shrunk").model_copy(update={"micro_batch_size": 8})

    train(whole)
    train(shrunk)

    assert losses(shrunk) == pytest.approx(losses(whole), rel=1e-5)


def test_a_loss_that_is_no_number_ends_the_run_with_its_reason(store, tmp_path):
    optimizer = {"name": "sgd", "learning_rate": 1e30, "max_gradient_norm": None}
    plan = plan_of(store, tmp_path / "run", optimizer=optimizer)

    with pytest.raises(TrainingError) as caught:
        train(plan)

    assert caught.value.reason == "diverged"
    assert not (tmp_path / "run" / MODEL_FILE).exists()


def test_every_report_names_its_epoch_and_the_primary_metric(store, tmp_path):
    launcher = SingleProcessLauncher()

    train(plan_of(store, tmp_path / "run"), launcher)

    assert launcher.reports[-1]["epoch"] == 3
    assert "accuracy" in launcher.reports[-1]


def test_every_report_and_epoch_say_what_they_have_cost(store, tmp_path):
    plan, launcher = plan_of(store, tmp_path / "run", max_steps=10), SingleProcessLauncher()

    train(plan, launcher)

    seconds = [report["accelerator_s"] for report in launcher.reports]
    # The first epoch has 7 steps of at most 32 rows; the second ends early.
    num_rows = plan.dataset.num_rows(Split.TRAIN)
    seen = [event["num_samples"] for event in events(plan, "epoch")]
    assert seen == [num_rows, num_rows + 3 * 32]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0.0
