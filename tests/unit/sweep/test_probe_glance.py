"""A precision that is hopelessly slow is found out by a few rows, and costs almost nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.sweep.probe.glance import Glancer, Look, fewer_rows, many_rows
from raymi.sweep.probe.journal import ProbeJournal
from tests.unit.sweep.probe_plans import plan_maker

seconds = st.floats(1e-6, 1e3)


@dataclass
class MadeUpNetwork:
    """A pass takes some time, and some more for each row."""

    pass_s: float = 0.0
    row_s: float = 0.001
    first_s: float = 0.0
    """Over that, once."""

    taken: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def run(self, *, micro_batch_size: int, num_passes: int, num_steps: int) -> float:
        once_s = 0.0 if self.taken else self.first_s
        each_s = self.pass_s + self.row_s * micro_batch_size
        self.taken.append(once_s + each_s * num_passes * num_steps)
        self.rows.append(micro_batch_size)
        return self.taken[-1]


@dataclass
class MadeUpCrew:
    """Has a network for each precision."""

    plan: Any
    networks: dict[str, Any]

    def solo(self, setting: int) -> Any:
        return self.networks[self.plan.setting(setting).precision.value]


class Refusing:
    """A network that an accelerator cannot compute."""

    def run(self, **_: int) -> float:
        raise NotImplementedError("no such kernel\nand a page of advice")


@pytest.fixture(scope="module")
def make_plan(tmp_path_factory):
    return plan_maker(
        tmp_path_factory.mktemp("store"),
        "space={precision: [fp32, bf16], batch.micro_batch_size: [4, 32, 64]}",
    )


@pytest.fixture
def glance(make_plan, tmp_path):
    """Look at two made-up networks; what is known then."""

    def look(fp32: Any, bf16: Any, *, on_cpu: bool = True, **fields: Any):
        plan = make_plan(tmp_path, **{"keeps_slow": False, **fields})
        pen = ProbeJournal(tmp_path)
        crew: Any = MadeUpCrew(plan, {"fp32": fp32, "bf16": bf16})
        Glancer(plan, crew, pen, on_cpu=on_cpu).run(lambda: False)
        return pen.progress()

    return look


def test_all_settings_of_a_hopeless_precision_are_out_and_the_others_are_not(glance):
    done = glance(MadeUpNetwork(row_s=0.001), MadeUpNetwork(row_s=0.084))

    sentence = "bf16: 84x slower than fp32 for 4 samples; not probed further"
    assert done.given_up == dict.fromkeys((3, 4, 5), sentence)
    assert done.failures == {}


def test_a_hopeless_precision_does_a_single_pass(glance):
    slow = MadeUpNetwork(row_s=0.084)

    glance(MadeUpNetwork(row_s=0.001), slow)

    assert slow.taken == [pytest.approx(4 * 0.084)]


@pytest.mark.parametrize("row_s", [0.02, 0.2, 3.0])
def test_the_slower_the_reference_the_fewer_rows_are_looked_at(glance, row_s):
    slow = MadeUpNetwork(row_s=80 * row_s)

    glance(MadeUpNetwork(row_s=row_s), slow)

    assert slow.rows == [1]


def test_what_only_starts_slowly_is_looked_at_again_and_stays(glance):
    late = MadeUpNetwork(first_s=0.05)

    done = glance(MadeUpNetwork(), late)

    assert len(late.taken) > 1
    assert done.out == set()


def test_a_first_pass_on_a_gpu_proves_nothing(glance):
    late = MadeUpNetwork(first_s=60.0)

    assert glance(MadeUpNetwork(), late, on_cpu=False).out == set()


def test_what_is_slower_at_few_rows_only_is_looked_at_with_many_and_stays(glance):
    costly = MadeUpNetwork(pass_s=0.006, row_s=0.001)

    done = glance(MadeUpNetwork(row_s=0.001), costly)

    assert max(costly.rows) == 64
    assert done.out == set()


def test_what_is_slower_at_many_rows_too_is_out_where_only_speed_counts(glance):
    done = glance(MadeUpNetwork(row_s=0.001), MadeUpNetwork(row_s=0.0025))

    assert set(done.given_up) == {3, 4, 5}
    assert done.given_up[3] == "bf16: 2.5x slower than fp32 for 64 samples; not probed further"


def test_what_is_slower_but_not_hopeless_stays_where_it_could_win(glance):
    done = glance(MadeUpNetwork(row_s=0.001), MadeUpNetwork(row_s=0.0025), keeps_slow=True)

    assert done.out == set()


def test_what_cannot_be_computed_fails_with_its_own_words(glance):
    done = glance(MadeUpNetwork(), Refusing())

    assert done.failures == dict.fromkeys((3, 4, 5), "NotImplementedError: no such kernel")
    assert [(one.setting, one.sample_s) for one in done.glances] == [(0, 0.001), (3, None)]


def test_without_the_reference_the_next_one_that_runs_is_the_measure(glance):
    done = glance(Refusing(), MadeUpNetwork())

    assert set(done.failures) == {0, 1, 2}


def test_nothing_is_looked_at_twice(glance):
    glance(MadeUpNetwork(row_s=0.001), MadeUpNetwork(row_s=0.084))
    once_more = MadeUpNetwork(), MadeUpNetwork()

    glance(*once_more)

    assert [network.taken for network in once_more] == [[], []]


@given(st.integers(1, 64), seconds)
def test_fewer_rows_are_at_least_one_and_never_more(num_rows, pass_s):
    assert 1 <= fewer_rows(num_rows, pass_s) <= num_rows


@given(st.integers(1, 8), seconds, st.integers(8, 4096))
def test_many_rows_take_a_second_of_the_reference_at_most(num_rows, pass_s, largest):
    look = Look(num_rows, math.inf, pass_s)

    many = many_rows(largest, look)

    assert num_rows <= many <= largest
    assert many == num_rows or many * look.sample_s <= 1.0 + 1e-9
