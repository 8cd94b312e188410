"""Progress is told every few seconds, with a pace that does not count the start of actors."""

from datetime import UTC, datetime

from raymi.serve.batch.parts import PartReceipt, cut
from raymi.serve.batch.progress import Progress
from raymi.train.events import EventLog, read_events

PARTS = cut(1000, 500)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def receipt(part, num_failed=0):
    return PartReceipt(
        index=part.index,
        first_row=part.first,
        num_rows=part.num_rows,
        num_failed=num_failed,
        sha256="0" * 64,
        num_bytes=10,
        finished_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def told(tmp_path):
    lines, clock = [], Clock()
    events = EventLog(tmp_path / "events.jsonl")
    progress = Progress(lines.append, events, num_parts=2, num_done=0, num_rows=1000, clock=clock)
    return lines, clock, progress


def test_the_pace_begins_with_the_first_rows(tmp_path):
    lines, clock, progress = told(tmp_path)

    clock.now = 60.0  # actors start
    progress.rows(100)
    clock.now = 64.0
    progress.rows(400)

    assert progress.rows_per_s == 100.0
    assert lines[-1] == "parts 0/2  500 of 1,000 rows  100 rows/s  eta 5s"


def test_lines_are_seconds_apart_and_the_last_part_always_has_one(tmp_path):
    lines, clock, progress = told(tmp_path)

    for _ in range(10):
        clock.now += 0.1
        progress.rows(100)
    progress.part(PARTS[0], receipt(PARTS[0]))
    assert lines == []
    progress.part(PARTS[1], receipt(PARTS[1], num_failed=3))

    assert lines == ["parts 2/2  1,000 of 1,000 rows  3 failed  1,000 rows/s"]


def test_every_part_is_an_event(tmp_path):
    _, _, progress = told(tmp_path)

    progress.part(PARTS[0], receipt(PARTS[0], num_failed=2))

    [event] = read_events(tmp_path / "events.jsonl")
    assert (event["event"], event["index"], event["num_failed"]) == ("part", 0, 2)
