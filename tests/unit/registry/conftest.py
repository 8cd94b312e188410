"""A registered model, and the two halves it is made of."""

import pytest

from raymi.evaluate import stage as evaluate_stage
from raymi.registry import stage
from raymi.registry.store import InMemoryModelStore


@pytest.fixture
def store(tmp_path):
    return InMemoryModelStore(tmp_path / "store" / "models")


@pytest.fixture
def enrol(store):
    """Evaluate and register a run."""

    def enrol(run):
        evaluation = evaluate_stage.run(run.result, store_dir=run.store_dir)
        return stage.run(run.result, evaluation, store=store, store_dir=run.store_dir)

    return enrol
