"""The largest micro-batch that fits is found with few measurements, and none is repeated."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raymi.sweep.probe.journal import ProbeJournal
from raymi.sweep.probe.memory import OUT_OF_MEMORY
from raymi.sweep.probe.memory_model import MemoryLine
from raymi.sweep.probe.memory_search import MemorySearch, memory_lines, num_rigs_to_keep
from tests.unit.sweep.probe_plans import plan_maker

SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256]


class MadeUpMemory:
    """Peaks on a line."""

    def __init__(self, *, fixed_gib: float = 1.0, per_sample_gib: float = 0.1) -> None:
        self.fixed_gib, self.per_sample_gib = fixed_gib, per_sample_gib
        self.asked: list[int] = []

    def peak_gib(
        self, setting: int, micro_batch_size: int, *, limit_gib: float | None
    ) -> tuple[float | None, str | None]:
        self.asked.append(micro_batch_size)
        peak = self.fixed_gib + self.per_sample_gib * micro_batch_size
        if limit_gib is not None and peak > limit_gib:
            return None, OUT_OF_MEMORY
        return peak, None


class Broken:
    """No process ends well."""

    def peak_gib(self, *_: Any, **__: Any) -> tuple[float | None, str | None]:
        return None, "RuntimeError: no kernel"


@pytest.fixture(scope="module")
def make_plan(tmp_path_factory):
    sizes = f"[{', '.join(map(str, SIZES))}]"
    return plan_maker(
        tmp_path_factory.mktemp("store"),
        "train.batch.global_batch_size=256",
        f"space={{precision: [fp32], batch.micro_batch_size: {sizes}}}",
    )


@pytest.fixture
def search(make_plan, tmp_path_factory):
    """Search, in the directory of an earlier search or in a new one; what is known then."""

    def run(measures: Any, *, limit_gib: float | None = None, probe_dir: Any = None):
        probe_dir = probe_dir or tmp_path_factory.mktemp("probe")
        plan = make_plan(probe_dir, memory_limit_gib=limit_gib)
        pen = ProbeJournal(probe_dir)
        MemorySearch(plan, pen, measures, lambda: False).run(plan.settings)
        return plan, pen.progress()

    return run


def test_three_sizes_are_measured_where_all_fit(search):
    measures = MadeUpMemory()

    _, done = search(measures, limit_gib=100.0)

    assert measures.asked == [1, 16, 256]
    assert done.failures == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit_gib=st.floats(0.5, 30.0))
def test_exactly_what_does_not_fit_is_out(search, limit_gib):
    measures = MadeUpMemory()

    plan, done = search(measures, limit_gib=limit_gib)

    too_large = [s.index for s in plan.settings if 1.0 + 0.1 * s.micro_batch_size > limit_gib]
    assert sorted(done.failures) == too_large
    assert len(measures.asked) == len(set(measures.asked)) <= 5


def test_what_does_not_fit_says_how_much_it_would_take(search):
    _, done = search(MadeUpMemory(), limit_gib=10.0)

    assert done.failures[SIZES.index(256)] == (
        "out of memory: about 26.60 GiB needed, a worker may use 10.00 GiB"
    )


def test_what_breaks_says_how(search):
    _, done = search(Broken())

    assert set(done.failures.values()) == {"RuntimeError: no kernel"}
    assert len(done.failures) == len(SIZES)


def test_a_search_that_was_cut_off_measures_only_what_is_left(search, tmp_path):
    search(MadeUpMemory(), limit_gib=10.0, probe_dir=tmp_path)
    journal = tmp_path / "probe.jsonl"
    first = [line for line in journal.read_text().splitlines() if '"memory"' in line][:2]
    journal.write_text("\n".join(first) + "\n")
    measures = MadeUpMemory()

    _, done = search(measures, limit_gib=10.0, probe_dir=tmp_path)

    assert not {1, 16} & set(measures.asked)
    assert sorted(done.failures) == [SIZES.index(128), SIZES.index(256)]


def test_points_give_the_line_of_their_state(search):
    plan, done = search(MadeUpMemory(fixed_gib=2.0, per_sample_gib=0.25))

    [line] = memory_lines(plan, done.memory).values()

    assert line.peak_gib(100) == pytest.approx(2.0 + 25.0)


@pytest.mark.parametrize(
    ("limit_gib", "expected"),
    # Three networks of 2 GiB each, one of which computes with 1 GiB more: half of the limit.
    [(None, 3), (14.0, 3), (13.9, 2), (10.0, 2), (9.9, 1), (1.0, 1)],
)
def test_networks_stay_while_they_fit_into_half_of_the_limit(limit_gib, expected):
    lines = {"a": MemoryLine(2.0, 0.1, 0.0)}

    kept = num_rigs_to_keep(lines, [("a", 10), ("a", 4), ("a", 4)], limit_gib=limit_gib)

    assert kept == expected
