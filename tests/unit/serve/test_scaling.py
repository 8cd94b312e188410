"""A replica knows how busy it is, and Serve's own policy makes a number of replicas of it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from ray.serve.autoscaling_policy import _apply_autoscaling_config, default_autoscaling_policy
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from raymi.serve.scaling import RUNNING_REQUESTS, OngoingRequests, autoscaling_config
from raymi.serve.stage import _application
from raymi.specs.deploy import DeploySpec, ScalingSpec

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def spec_of(**fields):
    return DeploySpec.from_document({"model": "digits@3", **fields})


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@given(
    st.lists(
        st.tuples(st.floats(0.0, 10.0), st.floats(0.0, 10.0)).map(sorted), max_size=30
    )
)  # fmt: skip
def test_the_mean_is_the_time_spent_in_requests_by_the_time_that_passed(intervals):
    clock = Clock()
    ongoing = OngoingRequests(clock)
    events = [(b, 0, b) for b, _ in intervals] + [(e, 1, b) for b, e in intervals]
    readings = []
    for k, (at_s, is_end, began_s) in enumerate(sorted(events)):
        clock.now_s = 100.0 + at_s
        if is_end:
            ongoing.ended(100.0 + began_s, at_s - began_s)
        else:
            ongoing.began(clock.now_s)
        if k % 3 == 0:
            before_s = readings[-1][0] if readings else 0.0
            mean = ongoing.mean()
            if at_s > before_s:
                readings.append((at_s, mean * (at_s - before_s)))
    clock.now_s = 111.0
    last_s = readings[-1][0] if readings else 0.0

    spent_s = sum(part for _, part in readings) + ongoing.mean() * (11.0 - last_s)

    assert ongoing.count == 0
    assert spent_s == pytest.approx(sum(e - b for b, e in intervals), abs=1e-6)


def test_a_request_that_never_ends_counts_all_the_time():
    clock = Clock()
    ongoing = OngoingRequests(clock)
    ongoing.began(clock.now_s)

    means = []
    for _ in range(3):
        clock.now_s += 2.0
        means.append(ongoing.mean())

    assert means == pytest.approx([1.0, 1.0, 1.0])


def decide(config, *, replicas, ongoing):
    """What Serve's own policy wants, without its delays."""
    context = AutoscalingContext(
        deployment_id=None, deployment_name="", app_name=None, current_num_replicas=replicas,
        target_num_replicas=replicas, running_replicas=[], total_num_requests=ongoing,
        total_queued_requests=0.0, aggregated_metrics=None, raw_metrics=None,
        capacity_adjusted_min_replicas=config.min_replicas,
        capacity_adjusted_max_replicas=config.max_replicas, policy_state={},
        last_scale_up_time=None, last_scale_down_time=None, current_time=0.0, config=config,
    )  # fmt: skip
    wanted, _ = _apply_autoscaling_config(default_autoscaling_policy)(context)
    return max(config.min_replicas, min(config.max_replicas, math.ceil(wanted)))


def at_once(**fields):
    scaling = ScalingSpec(max_replicas=8, upscale_delay_s=0, downscale_delay_s=0, **fields)
    return AutoscalingConfig(**autoscaling_config(scaling, max_batch_size=16))


@given(replicas=st.integers(1, 8), load=st.floats(0.0, 1000.0), more=st.floats(0.0, 1000.0))
def test_more_requests_never_mean_fewer_replicas(replicas, load, more):
    config = at_once()

    fewer = decide(config, replicas=replicas, ongoing=load)

    assert 1 <= fewer <= decide(config, replicas=replicas, ongoing=load + more) <= 8


@given(start=st.integers(1, 8), load=st.floats(0.1, 1000.0))
def test_under_a_constant_load_the_number_settles_and_stays(start, load):
    config, replicas, seen = at_once(), start, []
    for _ in range(20):
        replicas = decide(config, replicas=replicas, ongoing=load)
        seen.append(replicas)

    assert set(seen[10:]) == {min(8, max(1, math.ceil(round(load / 32.0, 9))))}


def test_a_request_that_finds_no_replica_starts_one_at_once():
    config = AutoscalingConfig(
        **autoscaling_config(ScalingSpec(min_replicas=0, max_replicas=4), max_batch_size=16)
    )

    assert decide(config, replicas=0, ongoing=1.0) == 1


@pytest.mark.parametrize("least", [0, 1, 3])
def test_what_is_deployed_is_started_once_even_if_none_may_be_left(least):
    config = autoscaling_config(ScalingSpec(min_replicas=least, max_replicas=4), max_batch_size=16)

    assert (config["min_replicas"], config["initial_replicas"]) == (least, max(1, least))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"scaling": {"max_replicas": 2}, "num_replicas": 3}, "exclude each other"),
        ({"scaling": {"min_replicas": 3, "max_replicas": 2}}, "less than min_replicas"),
        ({"scaling": {}}, "max_replicas"),
    ],
)
def test_contradictions_are_refused(fields, says):
    with pytest.raises(ValidationError, match=says):
        spec_of(**fields)


def test_other_scaling_restarts_no_replica():
    """Serve replaces every replica when the arguments of an application change."""
    one, other, fixed = (
        _application(spec, "digits", max_batch_size=16)
        for spec in (
            spec_of(scaling={"max_replicas": 2}),
            spec_of(scaling={"min_replicas": 0, "max_replicas": 9}),
            spec_of(num_replicas=4),
        )
    )

    assert one["args"] == other["args"] == fixed["args"]
    assert one["deployments"] != other["deployments"]


def test_serve_still_has_the_name_that_a_replica_answers_by():
    from ray.serve._private.common import RUNNING_REQUESTS_KEY

    assert RUNNING_REQUESTS == RUNNING_REQUESTS_KEY
