"""A registered model, once for all tests, and a copy of it for each that changes bytes."""

import shutil
from pathlib import Path

import pytest

from raymi.evaluate import stage as evaluate_stage
from raymi.registry import stage
from raymi.registry.store import InMemoryModelStore


@pytest.fixture
def store(tmp_path):
    return InMemoryModelStore(tmp_path / "models")


@pytest.fixture
def enrol(store):
    """Evaluate and register a run."""

    def enrol(run):
        evaluation = evaluate_stage.run(run.result, store_dir=run.store_dir)
        return stage.run(run.result, evaluation, store=store, store_dir=run.store_dir)

    return enrol


@pytest.fixture(scope="session")
def registered(classifier_run, tmp_path_factory):
    """The version that `classifier_run` became; tests must not change its files."""
    run = classifier_run
    evaluation = evaluate_stage.run(run.result, store_dir=run.store_dir)
    store = InMemoryModelStore(tmp_path_factory.mktemp("models"))
    return stage.run(run.result, evaluation, store=store, store_dir=run.store_dir)


@pytest.fixture
def copied(registered, tmp_path) -> Path:
    """A copy of its bundle, to be damaged."""
    return Path(shutil.copytree(registered.path, tmp_path / "copied"))
