"""Registering a judged run gives a candidate that says how good it is and what made it."""

from pathlib import Path

import pytest

from raymi.errors import NotFoundError
from raymi.registry.bundle import load_bundle
from raymi.specs.precision import Precision


def test_a_run_becomes_the_candidate_of_its_specs_name(make_run, enrol, store):
    version = enrol(make_run())

    assert store.resolve("things@candidate") == version
    assert version.reference == "things@1"


def test_a_version_carries_what_a_listing_shows(make_run, enrol):
    run = make_run(precision="bf16")

    version = enrol(run)

    evaluation = load_bundle(Path(version.path)).evaluation
    assert version.metrics == evaluation.metrics
    assert version.interval == evaluation.interval
    assert (version.precision, version.micro_batch_size) == (Precision.BF16, 16)
    assert version.dataset == run.dataset.summary()


def test_a_run_that_is_registered_twice_stays_one_version(make_run, enrol):
    run = make_run()

    assert enrol(run) == enrol(run)


def test_two_runs_are_two_versions(make_run, enrol):
    assert [enrol(make_run(run_id=f"run-{n}")).version for n in (1, 2)] == [1, 2]


def test_a_run_whose_dataset_is_gone_is_not_registered(make_run, enrol, store):
    run = make_run()
    dataset = run.result.dataset | {"fingerprint": "0" * 64}
    lost = run.result.model_copy(update={"dataset": dataset})

    with pytest.raises(NotFoundError):
        enrol(type(run)(run.store_dir, run.dataset, lost))

    assert store.list() == ()
