"""Registering a judged run gives a candidate that says how good it is and what made it."""

from dataclasses import replace
from pathlib import Path

import pytest

from raymi.errors import NotFoundError
from raymi.registry.bundle import load_bundle
from raymi.specs.precision import Precision


def test_a_run_becomes_the_candidate_of_its_specs_name(classifier_run, enrol, store):
    version = enrol(classifier_run)

    assert store.resolve("things@candidate") == version
    assert version.reference == "things@1"


def test_a_version_carries_what_a_listing_shows(classifier_run, registered):
    evaluation = load_bundle(Path(registered.path)).evaluation

    assert registered.metrics == evaluation.metrics
    assert registered.interval == evaluation.interval
    assert (registered.precision, registered.micro_batch_size) == (Precision.BF16, 16)
    assert registered.dataset == classifier_run.dataset.summary()


def test_a_run_that_is_registered_twice_stays_one_version(classifier_run, enrol):
    assert enrol(classifier_run) == enrol(classifier_run)


def test_two_runs_are_two_versions(classifier_run, regression_run, enrol):
    other = regression_run.result.model_copy(update={"run_id": "run-2"})

    versions = [enrol(classifier_run), enrol(replace(regression_run, result=other))]

    assert [version.version for version in versions] == [1, 2]


def test_a_run_whose_dataset_is_gone_is_not_registered(classifier_run, enrol, store):
    dataset = classifier_run.result.dataset | {"fingerprint": "0" * 64}
    lost = classifier_run.result.model_copy(update={"dataset": dataset})

    with pytest.raises(NotFoundError):
        enrol(replace(classifier_run, result=lost))

    assert store.list() == ()
