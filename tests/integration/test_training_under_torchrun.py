"""Several workers without Ray: the run of one process, however it is spread, cut and resumed."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from raymi.data import stage as data_stage
from raymi.data.fitting import fit_preprocessing
from raymi.data.library import open_dataset
from raymi.models.architecture import Architecture
from raymi.specs.data import DataSpec, FileFormat, SourceSpec
from raymi.specs.rows import RowSourceName
from raymi.specs.train import TrainSpec
from raymi.train.events import EVENTS_FILE, read_events
from raymi.train.launcher import SingleProcessLauncher
from raymi.train.loop import train_worker
from raymi.train.outcome import MODEL_FILE
from raymi.train.plan import TrainPlan

pytestmark = pytest.mark.timeout(240)

WORKER = """
import sys
from pathlib import Path

from raymi.train.launcher import TorchrunLauncher
from raymi.train.loop import train_worker
from raymi.train.plan import TrainPlan


class Leaving(TorchrunLauncher):
    num_asked = 0

    def interrupted(self):
        self.num_asked += 1
        return self.num_asked >= 10


for argument in sys.argv[1:]:
    path, _, leaves = argument.partition(":")
    launcher = (Leaving if leaves else TorchrunLauncher)(backend="gloo")
    train_worker(TrainPlan.load(Path(path)), launcher)
"""

MLP = Architecture(name="mlp", arguments={"hidden": [16], "dropout": 0.0})
ENCODER = Architecture(
    name="encoder", arguments={"width": 16, "num_layers": 2, "num_heads": 2, "dropout": 0.0}
)
GPT = Architecture(
    name="gpt", arguments={"width": 16, "num_layers": 2, "num_heads": 2, "dropout": 0.0}
)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Two blobs of points, 203 training rows; and lines of text of very different lengths."""
    directory = tmp_path_factory.mktemp("store")
    generator = torch.Generator().manual_seed(0)
    points, lines = ["x,y,kind"], []
    for row in range(290):
        x, y = (torch.randn(2, generator=generator) + (2.0 if row % 2 else -2.0)).tolist()
        points.append(f"{x:.5f},{y:.5f},{'high' if row % 2 else 'low'}")
        length = int(torch.randint(1, 12, (1,), generator=generator))
        lines.append(f"{row} " + "ab" * length)
    (directory / "blobs.csv").write_text("\n".join(points) + "\n")
    (directory / "lines.txt").write_text("\n".join(lines) + "\n")
    for name, file, file_format, target in (
        ("blobs", "blobs.csv", FileFormat.CSV, "kind"),
        ("lines", "lines.txt", FileFormat.TEXT, None),
    ):
        source = SourceSpec(path=file, format=file_format)
        spec = DataSpec(name=name, root=str(directory), sources=(source,), target=target)
        data_stage.run(spec, store_dir=directory)
    return directory


def plan_of(store, run_dir, *, data="blobs", architecture=MLP, **changes) -> TrainPlan:
    document = {
        "name": data,
        "problem": "unused",
        "data": data,
        "batch": {"global_batch_size": 32, "micro_batch_size": 8},
        "resources": {"num_workers": 2},
        "optimizer": {"learning_rate": 0.01},
        "epochs": 3,
        **changes,
    }
    dataset, directory = open_dataset(store, data)
    run_dir.mkdir(exist_ok=True, parents=True)
    task = "next_byte" if data == "lines" else "auto"
    spec = TrainSpec.from_document(document)
    plan = TrainPlan(
        run_id=run_dir.name,
        run_dir=str(run_dir),
        spec=spec,
        dataset=dataset,
        dataset_dir=str(directory),
        preprocessing=fit_preprocessing(dataset, task=task, context=32)
        if task == "next_byte"
        else fit_preprocessing(dataset),
        architecture=architecture,
        accelerator="cpu",
        micro_batch_size=spec.batch.micro_batch_size,
        row_source=RowSourceName.MEMORY_MAP,
    )
    plan.save(run_dir / "plan.json")
    return plan


def torchrun(tmp_path, *plans, leaving=()) -> None:
    """Train all plans one after the other in two processes; those in `leaving` for 10 steps."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    arguments = [f"{p.run_dir}/plan.json" + (":leaves" if p in leaving else "") for p in plans]
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone",
         str(script), *arguments],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def losses(plan):
    events = read_events(Path(plan.run_dir) / EVENTS_FILE)
    return [
        value
        for event in events
        if event["event"] == "epoch"
        for value in (event["train_loss"], event["loss"])
    ]


def weights(plan):
    return load_file(Path(plan.run_dir) / MODEL_FILE)


def equal(left, right):
    ours, theirs = weights(left), weights(right)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.fixture(scope="module")
def runs(store, tmp_path_factory):
    """Every way to spread the run, in one pair of processes."""
    directory = tmp_path_factory.mktemp("runs")
    sharded = {"parallelism": {"strategy": "fsdp"}}
    encoder = {"architecture": ENCODER}
    plans = {
        "ddp": plan_of(store, directory / "ddp"),
        "ddp_again": plan_of(store, directory / "ddp_again"),
        "fsdp": plan_of(store, directory / "fsdp", **sharded),
        "fsdp_averaged": plan_of(
            store, directory / "fsdp_averaged", optimizer={"ema_decay": 0.9}, **sharded
        ),
        "compressed": plan_of(
            store, directory / "compressed", parallelism={"gradient_compression": "bf16"}
        ),
        "encoder": plan_of(store, directory / "encoder", **encoder),
        "recomputed": plan_of(
            store,
            directory / "recomputed",
            parallelism={"activation_checkpointing": True},
            **encoder,
        ),
        "recomputed_fsdp": plan_of(
            store,
            directory / "recomputed_fsdp",
            parallelism={"activation_checkpointing": True, "strategy": "fsdp"},
            **encoder,
        ),
        "text": plan_of(store, directory / "text", data="lines", architecture=GPT),
        "fp16_fsdp": plan_of(store, directory / "fp16_fsdp", precision="fp16", **sharded),
        "pure_fsdp": plan_of(store, directory / "pure_fsdp", precision="bf16_pure", **sharded),
    }
    torchrun(directory, *plans.values())
    return plans


def alone(store, tmp_path, **settings) -> TrainPlan:
    """The same run in one process."""
    plan = plan_of(store, tmp_path / "alone", resources={"num_workers": 1}, **settings)
    train_worker(plan, SingleProcessLauncher())
    return plan


def test_two_workers_draw_the_loss_curve_of_one(runs, store, tmp_path):
    assert losses(runs["ddp"]) == pytest.approx(losses(alone(store, tmp_path)), rel=1e-5)


def test_the_same_spec_gives_the_same_bits_on_two_workers(runs):
    assert equal(runs["ddp"], runs["ddp_again"])


def test_texts_of_different_lengths_weigh_by_their_bytes_on_any_number_of_workers(
    runs, store, tmp_path
):
    one = alone(store, tmp_path, data="lines", architecture=GPT)

    assert losses(runs["text"]) == pytest.approx(losses(one), rel=1e-5)


def test_sharded_weights_learn_what_replicated_ones_do(runs):
    assert losses(runs["fsdp"]) == pytest.approx(losses(runs["ddp"]), rel=1e-4)
    assert weights(runs["fsdp"]).keys() == weights(runs["ddp"]).keys()


@pytest.mark.parametrize("name", ["recomputed", "recomputed_fsdp"])
def test_recomputed_activations_change_nothing(runs, name):
    assert losses(runs[name]) == pytest.approx(losses(runs["encoder"]), rel=1e-4)
    assert weights(runs[name]).keys() == weights(runs["encoder"]).keys()


def test_compressed_gradients_are_close_and_not_equal(runs):
    assert losses(runs["compressed"]) == pytest.approx(losses(runs["ddp"]), rel=0.05)
    assert not equal(runs["compressed"], runs["ddp"])


@pytest.mark.parametrize("name", ["fp16_fsdp", "pure_fsdp", "fsdp_averaged"])
def test_sharding_goes_with_every_precision_and_with_averaging(runs, name):
    curve = losses(runs[name])

    assert all(math.isfinite(loss) for loss in curve)
    assert curve[-1] < curve[0]


@pytest.fixture(scope="module")
def left(store, tmp_path_factory):
    """Runs whose workers have saved and left after some ten steps."""
    directory = tmp_path_factory.mktemp("left")
    averaged = {"parallelism": {"strategy": "fsdp"}, "optimizer": {"ema_decay": 0.9}}
    plans = {
        "ddp": plan_of(store, directory / "ddp"),
        "fsdp_averaged": plan_of(store, directory / "fsdp_averaged", **averaged),
        "smaller": plan_of(store, directory / "smaller"),
    }
    torchrun(directory, *plans.values(), leaving=plans.values())
    return plans


@pytest.fixture(scope="module")
def resumed(left, tmp_path_factory):
    """The same, gone on with two workers."""
    plans = {name: left[name] for name in ("ddp", "fsdp_averaged")}
    torchrun(tmp_path_factory.mktemp("resumed"), *plans.values())
    return plans


@pytest.mark.parametrize("name", ["ddp", "fsdp_averaged"])
def test_resumed_workers_end_with_the_weights_of_undisturbed_ones(runs, resumed, name):
    events = read_events(Path(resumed[name].run_dir) / EVENTS_FILE)

    steps = [event["step"] for event in events if event["event"] == "attempt"]
    assert steps[0] == 0
    assert steps[1] >= 10
    assert losses(resumed[name]) == pytest.approx(losses(runs[name]), rel=1e-6)
    assert equal(resumed[name], runs[name])


def test_a_run_goes_on_with_another_number_of_workers(runs, left):
    train_worker(left["smaller"], SingleProcessLauncher())

    assert losses(left["smaller"]) == pytest.approx(losses(runs["ddp"]), rel=1e-4)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPUs"
)
def test_a_compiled_network_learns_the_same(store, tmp_path):
    plain = alone(store, tmp_path)
    compiled = plan_of(
        store, tmp_path / "compiled", resources={"num_workers": 1}, parallelism={"compile": True}
    )

    train_worker(compiled, SingleProcessLauncher())

    assert losses(compiled) == pytest.approx(losses(plain), rel=1e-3)
    assert weights(compiled).keys() == weights(plain).keys()


def test_the_entry_point_trains_a_spec_file(repository, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone",
         "-m", "raymi.train.torchrun", "jobs/digits/train.yaml", "--set", "epochs=2"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": "platform", "RAYMI_HOME": str(tmp_path)},
    )  # fmt: skip

    [run_dir] = (tmp_path / "store" / "runs").iterdir()
    result = json.loads((run_dir / "result.json").read_text())
    telemetry = json.loads((run_dir / "telemetry.json").read_text())
    assert result["metrics"]["accuracy"] > 0.9
    assert telemetry["num_workers"] == 2
    assert (run_dir / "report.html").is_file()
    assert f"accuracy {result['metrics']['accuracy']:.4f}" in done.stdout
