"""A run costs what its workers were held for, whether they trained, started up or died."""

from raymi.train.cost import accelerator_seconds


def at(time: float, kind: str, **fields: object) -> dict[str, object]:
    return {"event": kind, "time": time, **fields}


def test_two_workers_held_for_ten_seconds_cost_twenty():
    events = [at(5.0, "starting", num_workers=2), at(9.0, "attempt"), at(15.0, "ended")]

    assert accelerator_seconds(events) == 20.0


def test_attempts_add_up_and_the_time_between_them_is_free():
    events = [
        at(0.0, "starting", num_workers=2),
        at(10.0, "ended"),
        at(60.0, "starting", num_workers=1),
        at(65.0, "ended"),
    ]

    assert accelerator_seconds(events) == 25.0


def test_an_attempt_whose_driver_was_killed_counts_up_to_its_last_word():
    events = [
        at(0.0, "starting", num_workers=1),
        at(7.0, "epoch"),
        # A day later the same run goes on.
        at(90_000.0, "starting", num_workers=1),
        at(90_004.0, "ended"),
    ]

    assert accelerator_seconds(events) == 7.0 + 4.0


def test_an_attempt_that_is_under_way_counts_up_to_its_last_word():
    events = [at(0.0, "starting", num_workers=4), at(2.5, "progress")]

    assert accelerator_seconds(events) == 10.0


def test_what_happens_after_the_end_costs_nothing():
    events = [at(0.0, "starting", num_workers=1), at(1.0, "ended"), at(50.0, "finished")]

    assert accelerator_seconds(events) == 1.0


def test_a_run_that_was_never_started_cost_nothing():
    assert accelerator_seconds([]) == 0.0
