"""Plans over the small finished runs that unit tests share."""

from collections.abc import Callable, Iterator

import pytest
import torch

from raymi.data.library import open_dataset
from raymi.specs.rows import RowSourceName
from raymi.specs.train import TrainSpec
from raymi.train.plan import TrainPlan

MakePlan = Callable[..., TrainPlan]


@pytest.fixture(scope="session")
def plan_of() -> MakePlan:
    """Plan to learn the dataset of a finished run again: `plan_of(run, batch={...}, ...)`."""

    def make(run, **changes: object) -> TrainPlan:
        dataset, directory = open_dataset(run.store_dir, run.dataset.name, run.dataset.fingerprint)
        document = {"name": "things", "problem": "unused", "data": "things"}
        spec = TrainSpec.from_document(document | changes)
        return TrainPlan(
            run_id="run",
            run_dir="unused",
            spec=spec,
            dataset=dataset,
            dataset_dir=str(directory),
            preprocessing=run.result.preprocessing,
            architecture=run.result.architecture,
            accelerator="cpu",
            micro_batch_size=spec.batch.micro_batch_size,
            row_source=RowSourceName.MEMORY_MAP,
        )

    return make


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """As many after a test as before it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
