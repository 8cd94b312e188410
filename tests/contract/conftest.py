"""One registry of each kind; the same tests run on both."""

from pathlib import Path

import pytest

from raymi.evaluate.result import Interval
from raymi.registry.store import InMemoryModelStore, SqlModelStore
from raymi.registry.version import ModelSummary


@pytest.fixture(params=["sql", "memory"])
def store(request, tmp_path):
    if request.param == "sql":
        return SqlModelStore(f"sqlite:///{tmp_path / 'raymi.db'}", tmp_path / "models")
    return InMemoryModelStore(tmp_path / "models")


def summary(run_id: str = "run-1", accuracy: float = 0.9) -> ModelSummary:
    return ModelSummary(
        run_id=run_id,
        metrics={"accuracy": accuracy},
        primary_metric="accuracy",
        interval=Interval(low=accuracy - 0.05, high=accuracy + 0.05, method="wilson"),
        precision="bf16",
        micro_batch_size=32,
        dataset={"name": "digits", "fingerprint": "ab" * 32},
    )


@pytest.fixture
def add(store):
    """Register a bundle of one file; runs are told apart by their number."""

    def add(run: int, name: str = "digits"):
        def write(directory: Path) -> None:
            (directory / "weights").write_text(f"weights of run {run}")

        return store.register(name, summary(f"run-{run}"), write, by="ada")

    return add
