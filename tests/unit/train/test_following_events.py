"""A run's events are lines that survive it; people see the few that matter."""

import pytest

from raymi.train.events import EventLog, EventReader, read_events
from raymi.train.follow import Throttle, follow, format_event, format_seconds

PROGRESS = {
    "event": "progress",
    "time": 0.0,
    "epoch": 1,
    "num_epochs": 3,
    "step": 5,
    "total_steps": 30,
    "loss": 0.25,
    "samples_per_s": 1234.5,
    "eta_s": 65,
}


def test_events_come_back_in_order(tmp_path):
    log = EventLog(tmp_path / "events.jsonl", clock=lambda: 7.0)

    log.append("attempt", step=0)
    log.append("finished", num_steps=3)

    assert read_events(tmp_path / "events.jsonl") == [
        {"event": "attempt", "time": 7.0, "step": 0},
        {"event": "finished", "time": 7.0, "num_steps": 3},
    ]


def test_a_log_that_does_not_exist_yet_is_empty(tmp_path):
    assert read_events(tmp_path / "events.jsonl") == []


def test_a_half_written_line_waits_for_its_end(tmp_path):
    path = tmp_path / "events.jsonl"
    reader = EventReader(path)
    path.write_text('{"event": "a"}\n{"event": ')

    first = list(reader.new_events())
    path.write_text('{"event": "a"}\n{"event": "b"}\n')

    assert first == [{"event": "a"}]
    assert list(reader.new_events()) == [{"event": "b"}]


def test_following_prints_what_was_written_before_the_block_ended(tmp_path):
    lines: list[str] = []
    log = EventLog(tmp_path / "events.jsonl")

    with follow({"[t] ": tmp_path / "events.jsonl"}, lines.append):
        log.append("failure", reason="worker_died", policy="retry")

    assert lines == ["[t] failed (worker_died): going back to the newest checkpoint"]


def test_what_a_resumed_run_wrote_before_is_not_printed_again(tmp_path):
    lines: list[str] = []
    log = EventLog(tmp_path / "events.jsonl")
    log.append("failure", reason="worker_died", policy="retry")

    with follow({"": tmp_path / "events.jsonl"}, lines.append):
        log.append("failure", reason="diverged", policy="stop")

    assert lines == ["failed (diverged): giving up"]


def test_progress_says_where_how_fast_and_how_long():
    line = format_event(PROGRESS)

    assert line == "epoch 1/3  step 5/30  loss 0.2500  1,234 samples/s  eta 1m05s"


def test_progress_shows_the_live_numbers_that_there_are():
    live = {"tokens_per_s": 81234.5, "data_wait_share": 0.123, "mfu": 0.31, "power_w": 412.4}

    line = format_event(PROGRESS | live)

    assert line.endswith("1,234 samples/s  81,234 tokens/s  wait 12%  mfu 31%  412 W  eta 1m05s")


def test_a_progress_line_with_all_its_numbers_fits_a_wide_terminal():
    live = {"tokens_per_s": 1e6, "data_wait_share": 0.5, "mfu": 0.5, "power_w": 750.0}
    long = {"epoch": 10, "num_epochs": 90, "step": 123456, "total_steps": 999999}

    assert len(format_event(PROGRESS | live | long) or "") <= 120


@pytest.mark.parametrize(
    "event",
    [
        {"event": "checkpoint", "step": 3},
        {"event": "starting", "num_workers": 2},
        {"event": "ended"},
        {"event": "noise_scale", "gradient_square": 1.0, "noise_trace": 2.0, "num_estimates": 3},
    ],
)
def test_events_for_the_record_are_not_printed(event):
    assert format_event({"time": 0.0, **event}) is None


def test_progress_in_quick_succession_is_thinned_out():
    throttle = Throttle()

    shown = [throttle.lets_through(PROGRESS | {"time": t}) for t in (0.0, 0.5, 1.9, 2.1, 3.0)]

    assert shown == [True, False, False, True, False]


def test_the_last_step_is_always_shown():
    throttle = Throttle()
    throttle.lets_through(PROGRESS)

    assert throttle.lets_through(PROGRESS | {"step": 30})


DURATIONS = [(0.4, "0s"), (59.4, "59s"), (65, "1m05s"), (7620, "2h07m")]


@pytest.mark.parametrize(("seconds", "text"), DURATIONS)
def test_durations_are_short(seconds, text):
    assert format_seconds(seconds) == text
