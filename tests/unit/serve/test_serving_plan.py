"""A deployment's limits agree with each other, whoever leaves what open."""

import pytest

from raymi.errors import SpecError
from raymi.serve.plan import plan, replica_resources, spec_from_arguments
from raymi.specs.deploy import DeploySpec


def deploy_spec(**fields):
    return DeploySpec.from_document({"model": "digits@3", **fields})


def test_the_batch_is_the_one_the_sweep_chose():
    assert plan(deploy_spec(), swept_batch_size=32).batch.max_batch_size == 32


def test_a_batch_size_in_the_spec_goes_first():
    spec = deploy_spec(batching={"max_batch_size": 8})

    assert plan(spec, swept_batch_size=32).batch.max_batch_size == 8


@pytest.mark.parametrize("swept_batch_size", [1, 15, 16, 17, 64, 1000])
def test_by_default_two_full_batches_of_single_rows_fit_into_a_replica(swept_batch_size):
    settled = plan(deploy_spec(), swept_batch_size=swept_batch_size)

    assert settled.max_ongoing_requests >= max(64, 2 * swept_batch_size)


def test_too_few_requests_for_the_sweeps_batch_are_refused():
    with pytest.raises(SpecError, match="max_ongoing_requests=128"):
        plan(deploy_spec(max_ongoing_requests=100), swept_batch_size=64)


@pytest.mark.parametrize(("cpus", "threads"), [(0.5, 1), (1.0, 1), (2.9, 2), (8.0, 8)])
def test_threads_never_exceed_the_cpus_reserved(cpus, threads):
    assert plan(deploy_spec(cpus_per_replica=cpus), swept_batch_size=1).num_threads == threads


def test_without_accelerators_ray_is_asked_for_cpus_alone():
    assert replica_resources(deploy_spec(cpus_per_replica=2.0)) == {"num_cpus": 2.0}


@pytest.mark.parametrize("accelerators", [0.0001, 0.25, 0.3333, 1.0, 4.0])
def test_ray_reserves_the_accelerators_of_a_replica(accelerators):
    spec = deploy_spec(accelerators_per_replica=accelerators)

    assert replica_resources(spec) == {"num_cpus": 1.0, "num_gpus": accelerators}


@pytest.mark.parametrize(
    ("accelerators", "share"), [(0.0, 1.0), (0.25, 0.25), (1.0, 1.0), (2.0, 1.0)]
)
def test_a_fraction_of_an_accelerator_is_a_share_of_its_memory(accelerators, share):
    spec = deploy_spec(accelerators_per_replica=accelerators)

    assert plan(spec, swept_batch_size=1).accelerator_share == share


@pytest.mark.parametrize(
    ("accelerators", "says"),
    [
        ("1.5", "a part of one accelerator, such as 0.5, or whole ones"),
        ("0.00005", "steps of 0.0001"),
        ("-1", "accelerators_per_replica"),
        (".nan", "accelerators_per_replica"),
        (".inf", "accelerators_per_replica"),
    ],
)
def test_accelerators_that_ray_cannot_give_are_refused_with_the_reason(accelerators, says):
    with pytest.raises(SpecError, match=says):
        spec_from_arguments({"model": "digits@3", "accelerators_per_replica": accelerators})


def test_arguments_of_serve_run_are_text_and_become_what_the_spec_needs():
    spec = spec_from_arguments(
        {"model": "digits@3", "name": "007", "num_replicas": "2", "batching.max_wait_ms": "1.5"}
    )

    assert (spec.name, spec.num_replicas, spec.batching.max_wait_ms) == ("007", 2, 1.5)


def test_a_resolved_spec_is_taken_as_arguments_unchanged():
    spec = deploy_spec(name="d", batching={"max_batch_size": 4})

    assert spec_from_arguments(spec.to_document()) == spec


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"model": "digits@3", "replicas": "2"}, "num_replicas"),
        ({"model": "digits@3", "num_replicas": "two"}, "num_replicas"),
        ({"model": "digits"}, "model"),
        ({}, "model"),
    ],
)
def test_wrong_arguments_are_named(arguments, says):
    with pytest.raises(SpecError, match=says):
        spec_from_arguments(arguments)
