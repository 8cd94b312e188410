"""A running sweep is told in lines, with a time to go that real runs correct."""

import pytest

from raymi.sweep.view.live import SweepProgress, format_front_rows, format_sweep_event
from raymi.sweep.view.progress import SweepState, advance

STARTED = {"event": "sweep_started", "time": 1000.0, "num_settings": 12, "num_numerics": 1,
           "budget": {"accelerator_s": 600.0, "money": None, "wall_clock_s": 90.0}}  # fmt: skip
FRONT = {"event": "front", "time": 1030.0, "rows": [
    {"setting": 3, "label": "precision=bf16", "samples_per_s": 1234.5, "quality": None,
     "peak_memory_gib": 0.512},
    {"setting": 0, "label": "precision=fp32", "samples_per_s": 900.0, "quality": 0.9712,
     "peak_memory_gib": None},
]}  # fmt: skip
DECIDED = {"event": "decided", "time": 2000.0, "winner": 3, "sentence": "bf16 wins."}


def planned(runs: int, expected_s: float, *, phase: str = "quality", time: float = 1100.0):
    return {"event": "planned", "time": time, "phase": phase, "runs": runs,
            "expected_s": expected_s}  # fmt: skip


def started(run_id: str, time: float, *, purpose: str = "quality"):
    return {"event": "run_started", "time": time, "run_id": run_id, "label": "precision=bf16",
            "numerics": "bf16", "seed": 7, "purpose": purpose}  # fmt: skip


def ended(run_id: str, time: float, **fields):
    return {"event": "run_ended", "time": time, "run_id": run_id, "status": "SUCCEEDED",
            "reason": None, "metric": 0.97, "accelerator_s": 12.0, **fields}  # fmt: skip


def state_after(*events) -> SweepState:
    state = SweepState()
    for event in events:
        state = advance(state, event)
    return state


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (STARTED, "12 settings, 1 way to compute, budget 600 accelerator-s and 1m30s by the clock"),
        ({**STARTED, "budget": {}, "is_continued": True},
         "going on: 12 settings, 1 way to compute, no budget"),
        ({"event": "probe_started", "num_settings": 1}, "probing 1 setting"),
        ({"event": "probe_ended", "noise_floor": 0.0123, "seconds": 42.0},
         "probed in 42s: speeds closer than 1.2% are equal"),
        ({"event": "probe_ended", "noise_floor": None, "seconds": 42.0}, "probed in 42s"),
        (planned(9, 300.0), "quality: 9 runs to do, about 5m00s"),
        (started("a", 0.0), "precision=bf16, seed 7: started"),
        (started("a", 0.0, purpose="confirmation"), "precision=bf16, fresh seed 7: started"),
        (ended("a", 0.0), "a: done with 0.9700 after 12 accelerator-s"),
        (ended("a", 0.0, status="FAILED", reason="diverged", metric=None),
         "a: failed (diverged) after 12 accelerator-s"),
        ({"event": "budget", "spent_s": 150.0, "limit_s": 600.0, "phase": "quality"},
         "quality: 150 of 600 accelerator-s spent (25%)"),
        ({"event": "budget", "spent_s": 150.0, "limit_s": None, "phase": "probe"},
         "probe: 150 accelerator-s spent"),
        ({"event": "stopped", "limit": "budget.money"},
         "budget.money is used up: no more runs of this phase"),
        (DECIDED, "bf16 wins."),
        ({"event": "epoch", "loss": 1.0}, None),
    ],
)  # fmt: skip
def test_each_event_has_its_line(event, line):
    assert format_sweep_event(event) == line


def test_the_front_is_a_table_with_gaps_where_nothing_is_known():
    header, *rows = format_front_rows(FRONT["rows"]).splitlines()

    assert header.split() == ["samples/s", "quality", "GiB", "on", "the", "front"]
    assert [row.split() for row in rows] == [
        ["1,234", "-", "0.51", "precision=bf16"],
        ["900", "0.9712", "-", "precision=fp32"],
    ]


def test_before_the_first_run_the_time_to_go_is_what_was_foreseen():
    assert state_after(STARTED).eta_s(1050.0) is None
    assert state_after(STARTED, planned(10, 100.0)).eta_s(1150.0) == 100.0


def test_time_that_passes_is_time_gained():
    state = state_after(planned(10, 100.0), started("a", 1100.0))

    assert state.eta_s(1104.0) == pytest.approx(96.0)


def test_real_runs_correct_a_wrong_forecast():
    events = [planned(10, 10.0)]
    for index in range(8):
        events += [started(f"{index}", 1100.0 + 50 * index), ended(f"{index}", 1150.0 + 50 * index)]

    eta_s = state_after(*events).eta_s(1500.0)

    # Two runs of 50 s are left; the forecast said two seconds.
    assert 40.0 < eta_s <= 100.0


def test_the_time_to_go_is_never_negative():
    state = state_after(planned(2, 10.0), started("a", 1100.0))

    assert state.eta_s(9999.0) == 0.0


def test_runs_that_did_not_come_before_the_next_phase_are_not_waited_for():
    state = state_after(
        planned(5, 500.0), started("a", 1100.0), ended("a", 1200.0),
        planned(4, 80.0, phase="confirmation", time=1200.0),
    )  # fmt: skip

    assert state.eta_s(1200.0) == 80.0
    assert (state.num_done, state.num_runs) == (1, 5)


def test_another_driver_forgets_what_the_last_one_was_doing():
    state = state_after(planned(5, 500.0), started("a", 1100.0), FRONT, STARTED)

    assert (state.planned, state.running) == ((), {})
    assert state.front


def test_a_decided_sweep_has_a_winner_and_nothing_to_go():
    state = state_after(FRONT, planned(5, 500.0), DECIDED)

    assert state.is_decided
    assert state.label_of(state.winner) == "precision=bf16"
    assert state.eta_s(2000.0) is None


def test_a_run_that_ended_is_told_with_its_setting_and_the_time_to_go():
    lines: list[str] = []
    progress = SweepProgress(lines.append, clock=lambda: 0.0)

    for event in (planned(2, 20.0), started("a", 1100.0), ended("a", 1110.0)):
        progress(event)

    assert lines[-1] == (
        "precision=bf16, seed 7: done with 0.9700 after 12 accelerator-s, "
        "1 of 2 runs, about 10s left"
    )


def test_a_front_is_told_line_by_line():
    lines: list[str] = []

    SweepProgress(lines.append)(FRONT)

    assert len(lines) == 3


def test_the_budget_is_told_twice_a_minute_at_most():
    lines: list[str] = []
    progress = SweepProgress(lines.append)

    for second in range(0, 61, 5):
        progress({"event": "budget", "time": 1000.0 + second, "spent_s": second, "limit_s": 100.0,
                  "phase": "probe"})  # fmt: skip

    assert len(lines) == 3
    assert progress.state.spent_s == 60
