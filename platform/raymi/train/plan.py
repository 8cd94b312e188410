"""TrainPlan: everything a worker needs, decided before any worker starts."""

from __future__ import annotations

from raymi.data.preprocessing import Preprocessing
from raymi.data.version import DatasetVersion, Split
from raymi.models.architecture import Architecture
from raymi.specs.rows import RowSourceName
from raymi.specs.train import TrainSpec
from raymi.store.record import Record


class Teacher(Record):
    """Who a run learns from besides its labels."""

    name: str
    """The model."""

    version: int
    """What the spec's alias meant when the run began."""

    fingerprint: str
    """sha256 of the manifest of its bundle."""


class TrainPlan(Record):
    """One run, ready to launch. Sent to workers as JSON, never as a pickle of ours."""

    run_id: str
    """Unique; names the run's directory."""

    run_dir: str
    """Directory every worker can write to."""

    spec: TrainSpec
    """What was asked for."""

    dataset: DatasetVersion
    """The rows to learn from."""

    dataset_dir: str
    """Where the shards are."""

    preprocessing: Preprocessing
    """Fitted on the training rows."""

    architecture: Architecture
    """The network, with the spec's arguments applied."""

    accelerator: str
    """Ray's name of the device each worker gets; `cpu` for none."""

    micro_batch_size: int
    """The spec's, or less after a worker ran out of memory. The result does not depend on it."""

    row_source: RowSourceName
    """`memory_map` or `stream`: what `auto` came to."""

    soft_targets: str | None = None
    """A `.npy` file, float32 (training rows, num_outputs): what the teacher says."""

    teacher: Teacher | None = None
    """Who said it."""

    row_scores: tuple[Split, ...] = ()
    """Splits whose rows the final weights are judged on one by one; see `row_scores.py`."""

    measures_noise: bool = False
    """Whether to measure how noisy gradients are; see `noise_scale.py`. Training is the same."""

    report_interval_s: float = 1.0
    """Least time between two reports of metrics, each of which waits for the controller's next
    look. 0 where a scheduler judges every epoch."""
