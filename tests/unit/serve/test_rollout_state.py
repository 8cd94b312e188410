"""What becomes of a rollout: a version is prepared, tried, completed, and taken back."""

import pytest
from pydantic import ValidationError

from raymi.serve.rollout.state import (
    Breach,
    Rollout,
    abandoned,
    completed,
    deployed_again,
    in_force,
    prepared,
    rolled_back,
    tried,
)
from tests.unit.serve.rollouts import RULES, serving, version


def breach_of(rollout, taken_back):
    return Breach(
        generation=rollout.generation, version=taken_back, reason="too many faults", replica="a"
    )


def test_a_version_that_is_prepared_gets_no_request():
    now = prepared(serving(1), version(2), RULES)

    assert (now.active, now.candidate) == (version(1), version(2))
    assert (now.canary_percent, now.shadow_percent) == (0.0, 0.0)


def test_completing_keeps_the_way_back_and_watches():
    now = completed(prepared(serving(1), version(2), RULES))

    assert (now.active, now.previous, now.candidate) == (version(2), version(1), None)
    assert now.on_probation


def test_going_back_swaps_the_two_and_watches_no_more():
    now = rolled_back(completed(prepared(serving(1), version(2), RULES)), "slow")

    assert (now.active, now.previous) == (version(1), version(2))
    assert not now.on_probation
    assert now.reason == "slow"


def test_deploying_what_answers_again_ends_what_is_tried_beside_it():
    now = tried(prepared(serving(1), version(2), RULES), canary_percent=10.0, shadow_percent=0.0)

    after = deployed_again(now, RULES)

    assert (after.active, after.candidate, after.canary_percent) == (version(1), None, 0.0)
    assert deployed_again(after, RULES) == after


def test_every_change_has_a_generation_of_its_own():
    one = serving(1)
    two = prepared(one, version(2), RULES)
    three = tried(two, canary_percent=5.0, shadow_percent=0.0)
    four = abandoned(three, "no longer wanted")

    assert [r.generation for r in (one, two, three, four)] == [1, 2, 3, 4]


def test_a_breach_of_a_canary_takes_the_candidate_away():
    now = tried(prepared(serving(1), version(2), RULES), canary_percent=10.0, shadow_percent=0.0)

    after = in_force(now, breach_of(now, version(2)))

    assert (after.active, after.candidate, after.canary_percent) == (version(1), None, 0.0)
    assert after.reason == "too many faults"


def test_a_breach_of_what_answers_everything_goes_back_and_leaves_no_way_to_it():
    now = completed(prepared(serving(1), version(2), RULES))

    after = in_force(now, breach_of(now, version(2)))

    assert (after.active, after.previous) == (version(1), None)


def test_a_breach_of_an_earlier_rollout_changes_nothing():
    before = completed(prepared(serving(1), version(2), RULES))
    now = completed(prepared(before, version(3), RULES))

    assert in_force(now, breach_of(before, version(2))) == now


def test_where_nothing_went_before_there_is_nothing_to_go_back_to():
    with pytest.raises(ValueError, match="no previous"):
        rolled_back(serving(1), "why")

    alone = serving(1)
    assert in_force(alone, breach_of(alone, version(1))) == alone


def test_traffic_without_a_candidate_is_not_a_rollout():
    with pytest.raises(ValidationError, match="no candidate"):
        Rollout.model_validate({**dict(serving(1)), "canary_percent": 5.0})
