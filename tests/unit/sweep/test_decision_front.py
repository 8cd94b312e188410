"""The Pareto front, against looking at every pair."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raymi.sweep.decision.decide import decide
from raymi.sweep.decision.front import front_of, pareto_front
from raymi.sweep.verdicts import Costs

VALUE = st.one_of(st.none(), st.integers(0, 4).map(float))
COSTS = st.builds(
    Costs, setting=st.just(0), quality=VALUE, samples_per_s=VALUE, peak_memory_gib=VALUE,
    energy_j=VALUE, money=VALUE,
)  # fmt: skip
MORE_IS_BETTER = {
    "quality": True, "samples_per_s": True, "peak_memory_gib": False, "energy_j": False,
    "money": False,
}  # fmt: skip


def is_as_good(one, other, *, more_is_better):
    """Unknown is as good as unknown, and worse than anything measured."""
    if other is None:
        return True
    if one is None:
        return False
    return one >= other if more_is_better else one <= other


def beats(one, other):
    pairs = [
        ((getattr(one, name), getattr(other, name)), more) for name, more in MORE_IS_BETTER.items()
    ]
    at_least = all(is_as_good(a, b, more_is_better=more) for (a, b), more in pairs)
    more = any(not is_as_good(b, a, more_is_better=more) for (a, b), more in pairs)
    return at_least and more


@given(st.lists(COSTS, max_size=8))
def test_a_setting_is_on_the_front_if_no_other_beats_it(costs):
    costs = [one.model_copy(update={"setting": index}) for index, one in enumerate(costs)]

    found = front_of(costs, higher_is_better=True)

    assert found == {one.setting for one in costs if not any(beats(other, one) for other in costs)}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=9))
def test_there_is_always_a_front_and_equal_points_share_it(points):
    on_front = pareto_front(np.array(points, dtype=float))

    assert on_front.any()
    for i, one in enumerate(points):
        for j, other in enumerate(points):
            assert one != other or on_front[i] == on_front[j]


def test_less_error_is_better_if_the_metric_says_so():
    costs = [
        Costs(setting=0, quality=0.5, samples_per_s=1.0),
        Costs(setting=1, quality=0.4, samples_per_s=1.0),
    ]

    assert front_of(costs, higher_is_better=False) == {1}
    assert front_of(costs, higher_is_better=True) == {0}


def test_what_cannot_run_or_diverged_is_not_on_the_front(make_evidence):
    evidence = make_evidence(qualities={"fp32": 0.95, "bf16": [0.95, None]}, refused={0: "no"})

    on_front = {v.setting for v in decide(evidence).verdicts if v.on_front}

    assert on_front == {1}
