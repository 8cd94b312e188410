"""The cheapest way to serve that meets the objective wins; everybody else is told why not."""

import pytest

from raymi.serve.tuning.decide import decide
from raymi.serve.tuning.endpoint import deploy_spec
from raymi.serve.tuning.evidence import Forecast
from raymi.serve.tuning.receipt import TuningReceipt
from raymi.serve.tuning.shortlist import next_round, order
from raymi.serve.tuning.verdicts import Status
from raymi.serve.tuning.ways import list_candidates
from raymi.specs.tune_serving import ServingSpace, TuneServingSpec
from tests.unit.serve.tuning.conftest import load, outputs


def loads(*found):
    """Two loads each of candidates with these p99s."""
    return tuple(load(c, p99_ms=p99, number=n) for c, p99 in found for n in range(2))


def spec_of(evidence):
    return TuneServingSpec.from_document(evidence.spec)


def test_the_cheapest_wins_even_if_a_dearer_one_is_faster(evidence):
    decision = decide(evidence(runs=loads((0, 8.0), (3, 2.0))))

    assert decision.winner == 0
    assert decision.standings[3].status is Status.MET


def test_of_equals_the_simplest_wins_and_of_unequals_the_fastest(evidence):
    equal = decide(evidence(runs=loads((0, 5.0), (1, 5.0), (2, 5.0))))
    unequal = decide(evidence(runs=loads((0, 8.0), (1, 5.0), (2, 5.0))))

    assert equal.winner == 0
    assert unequal.winner == 1


def test_whoever_is_not_good_enough_does_not_win_however_fast(evidence):
    bad = (outputs(0), outputs(1), outputs(2, flipped=500))

    decision = decide(evidence(outputs=bad, runs=loads((0, 8.0), (2, 1.0))))

    assert decision.winner == 0
    assert decision.standings[2].status is Status.NOT_GOOD_ENOUGH


def test_nobody_wins_with_an_interval_across_the_objective(evidence):
    decision = decide(evidence(runs=loads((0, 10.0))))

    assert decision.winner is None
    assert decision.closest == 0
    assert decision.standings[0].status is Status.UNSURE
    assert "duration_s" in decision.sentence


def test_of_those_with_too_few_requests_for_a_limit_the_lowest_p99_is_closest(evidence):
    few = [
        load(candidate, p99_ms=p99, number=number, num_requests=50)
        for candidate, p99 in ((0, 30.0), (3, 12.0))
        for number in range(2)
    ]

    decision = decide(evidence(runs=tuple(few)))

    assert decision.standings[3].p99_high_ms is None
    assert (decision.winner, decision.closest) == (None, 3)


def test_one_measurement_of_two_is_not_enough(evidence):
    assert decide(evidence(runs=(load(0, p99_ms=1.0),))).winner is None


def test_one_failure_in_fifty_requests_is_a_missed_p99(evidence):
    runs = tuple(load(0, p99_ms=1.0, number=n, failed=80) for n in range(2))

    decision = decide(evidence(runs=runs))

    assert decision.standings[0].status is Status.MISSED
    assert "160 of 8,160 requests failed" in decision.standings[0].why


def test_what_cannot_carry_the_load_or_find_room_is_told_so(evidence):
    slow = (
        Forecast(candidate=0, rows_per_s=150.0, p99_ms=None),
        Forecast(candidate=1, rows_per_s=9000.0, p99_ms=30.0),
    )

    standings = decide(evidence(forecasts=slow, free_cpus=1.0)).standings

    assert [one.status for one in standings] == [
        "too_slow",
        "too_slow",
        "not_deployed",
        "too_large",
    ]
    assert "150 rows/s at most, 200 arrive" in standings[0].why


def test_the_front_holds_whom_none_beats_in_price_and_p99(evidence):
    standings = decide(evidence(runs=loads((0, 5.0), (1, 7.0), (3, 2.0)))).standings

    assert [one.candidate for one in standings if one.is_on_front] == [0, 3]


def test_the_cheapest_are_measured_first_and_others_only_if_they_all_miss(evidence):
    empty = evidence()
    queue = order(empty, range(4))
    once = evidence(runs=(load(0, p99_ms=90.0), load(1, p99_ms=90.0)))
    hopeful = evidence(runs=(load(0, p99_ms=90.0), load(1, p99_ms=5.0)))
    done = evidence(runs=(load(0, p99_ms=90.0), *loads((1, 5.0))))

    assert next_round(empty, spec_of(empty), queue) == [0, 1]
    assert next_round(once, spec_of(once), queue) == [3]
    assert next_round(hopeful, spec_of(hopeful), queue) == [1]
    assert next_round(done, spec_of(done), queue) == []


def test_what_cannot_be_deployed_is_not_tried_again(evidence):
    broken = evidence(undeployed={0: "no", 1: "no"}, runs=())

    assert next_round(broken, spec_of(broken), order(broken, range(4))) == [3]
    assert decide(broken).standings[0].status is Status.FAILED


@pytest.mark.parametrize("field", ["p99_ms", "winner"])
def test_a_receipt_that_was_changed_does_not_hold(evidence, tmp_path, field):
    receipt = TuningReceipt.seal(evidence(runs=loads((0, 5.0))), created_at=evidence().started_at)
    path = tmp_path / "receipt.json"
    receipt.save(path)
    assert TuningReceipt.verify(path) == ()

    if field == "winner":
        forged = receipt.decision.model_copy(update={"winner": 1})
    else:
        first = receipt.decision.standings[0].model_copy(update={"p99_ms": 0.1})
        standings = (first, *receipt.decision.standings[1:])
        forged = receipt.decision.model_copy(update={"standings": standings})
    receipt.model_copy(update={"decision": forged}).save(path)

    assert any(field in difference for difference in TuningReceipt.verify(path))


def test_what_needs_more_accelerators_than_are_free_is_not_deployed(evidence):
    standings = decide(evidence(accelerators_per_replica=1.0, free_accelerators=1.0)).standings

    assert [one.status is Status.TOO_LARGE for one in standings] == [False, False, False, True]
    assert standings[3].why == "it needs 2 accelerators, 1 are free"


@pytest.mark.parametrize("accelerators", [0.0, 1.0])
def test_a_deploy_spec_says_what_it_was_measured_on(evidence, accelerators):
    spec = deploy_spec(evidence(accelerators_per_replica=accelerators), 3)

    assert (spec.model, spec.num_replicas) == ("digits@1", 2)
    assert spec.model_dump(exclude_defaults=True)["accelerators_per_replica"] == accelerators


@pytest.mark.parametrize(
    ("free_accelerators", "expected"), [(None, {1, 2, 4}), (2.0, {1, 2}), (0.0, {1})]
)
def test_as_many_replicas_are_tried_as_there_are_accelerators_for(free_accelerators, expected):
    candidates = list_candidates(ServingSpace(), 1, (8,), 64.0, free_accelerators)

    assert {one.num_replicas for one in candidates} == expected
