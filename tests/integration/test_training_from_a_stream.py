"""Workers that hold every CPU of the cluster train on rows they stream, as one process would."""

from pathlib import Path

import pytest

from raymi.settings import settings
from raymi.specs.loading import load_spec
from raymi.specs.rows import RowSourceName
from raymi.train import stage
from raymi.train.events import EVENTS_FILE, read_events
from raymi.train.launcher import SingleProcessLauncher
from raymi.train.loop import train_worker
from raymi.train.planning import make_plan

pytestmark = [pytest.mark.ray, pytest.mark.drill, pytest.mark.timeout(240)]

CHANGES = (
    "rows.source=stream",
    "rows.shuffle_block_rows=32",
    "rows.shuffle_window_blocks=4",
    "batch.global_batch_size=32",
    "batch.micro_batch_size=4",
    "epochs=2",
    "model.dropout=0",
)


def losses(run_dir: Path) -> list[float]:
    """Training and validation loss of each epoch."""
    return [
        event[name]
        for event in read_events(run_dir / EVENTS_FILE)
        if event["event"] == "epoch"
        for name in ("train_loss", "loss")
    ]


def test_two_workers_that_stream_have_the_losses_of_one_process(
    job: pytest.MonkeyPatch, repository: Path, tmp_path: Path
) -> None:
    root = f"data.root={repository}/jobs/digits"
    spec = load_spec(
        repository / "jobs/digits/train.yaml", [root, "resources.num_workers=2", *CHANGES]
    )

    result = stage.run(spec, store_dir=settings().store_dir, say=lambda line: None)
    plan = make_plan(
        spec, run_id="alone", accelerator="cpu", store_dir=settings().store_dir
    ).model_copy(update={"run_dir": str(tmp_path)})
    train_worker(plan, SingleProcessLauncher())

    assert plan.row_source is RowSourceName.STREAM
    assert len(losses(tmp_path)) == 4
    assert losses(Path(result.run_dir)) == pytest.approx(losses(tmp_path), rel=1e-5)
