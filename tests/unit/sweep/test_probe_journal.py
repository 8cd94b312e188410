"""The journal is what a probe goes on from, and what it is charged by."""

from __future__ import annotations

import pytest

from raymi.specs.precision import Precision
from raymi.sweep.evidence import Glance, Window
from raymi.sweep.probe.journal import (
    JOURNAL_FILE,
    ProbeJournal,
    accelerator_s,
    looked_at,
    probe_accelerator_s,
    probe_seconds_by_precision,
    read_probe,
    read_progress,
)
from raymi.sweep.setting import Setting
from raymi.train.events import EventLog, read_events

HERE, THERE = ["host", "a CPU", "2.0"], ["host", "a CPU", "2.1"]
GLANCE = Glance(setting=0, micro_batch_size=8, sample_s=0.001)


class Journal:
    """Writes lines at given times."""

    def __init__(self, directory):
        self.directory = directory
        self.now = 0.0
        self._log = EventLog(directory / JOURNAL_FILE, clock=lambda: self.now)

    def write(self, at, kind, **fields):
        self.now = at
        self._log.append(kind, **fields)

    def ready(self, at, *, num_workers=2, machine=HERE):
        self.write(
            at, "ready", num_workers=num_workers, machine=machine, memory_limit_gib=4.0, meter=None
        )

    def window(self, at, setting, round_):
        record = Window(setting=setting, round=round_, num_steps=1, duration_s=0.1)
        self.write(at, "window", record=record.model_dump(mode="json"))

    def glance(self, at):
        self.write(at, "glance", record=GLANCE.model_dump(mode="json"))


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path)


def setting(index, precision):
    return Setting(
        index=index,
        point={},
        precision=Precision(precision),
        num_workers=1,
        global_batch_size=8,
        micro_batch_size=8,
        accumulation_steps=1,
        learning_rate=0.1,
        numerics=precision,
    )


def rounds_of(evidence):
    return [(window.setting, window.round) for window in evidence.windows]


def test_nothing_is_known_without_a_journal(tmp_path):
    evidence = read_probe(tmp_path)

    assert (evidence.windows, evidence.glances, evidence.failures) == ((), (), {})


def test_a_round_that_was_cut_off_is_forgotten_when_the_next_group_is_ready(journal):
    journal.ready(0.0)
    for at, (one, round_) in enumerate([(0, 0), (1, 0)]):
        journal.window(1.0 + at, one, round_)
    journal.write(3.0, "round", round=0, dropped=[])
    journal.window(4.0, 1, 1)
    assert rounds_of(read_probe(journal.directory)) == [(0, 0), (1, 0), (1, 1)]

    journal.ready(10.0)

    assert rounds_of(read_probe(journal.directory)) == [(0, 0), (1, 0)]


def test_what_cannot_be_written_is_an_error_and_not_forgotten(tmp_path):
    pen = ProbeJournal(tmp_path / "away")

    with pytest.raises(FileNotFoundError):
        pen.note("started", num_workers=1)

    (tmp_path / "away").mkdir()
    pen.note("ready", num_workers=1, machine=[], memory_limit_gib=2.0, meter=None)
    assert pen.progress().memory_limit_gib == 2.0
    assert [event["event"] for event in read_events(tmp_path / "away" / JOURNAL_FILE)] == [
        "started",
        "ready",
    ]


def test_the_last_line_may_be_half_written(journal):
    journal.ready(0.0)
    journal.glance(1.0)
    with (journal.directory / JOURNAL_FILE).open("a") as file:
        file.write('{"event": "glance", "time": 2.0, "rec')

    assert read_probe(journal.directory).glances == (GLANCE,)


def test_what_is_written_after_a_half_written_line_is_read(tmp_path):
    (tmp_path / JOURNAL_FILE).write_text('{"event": "glance", "time": 2.0, "rec')

    ProbeJournal(tmp_path).fail([setting(3, "fp32")], "out of memory", died=False)

    assert read_probe(tmp_path).failures == {3: "out of memory"}


def test_what_was_measured_on_another_machine_does_not_count(journal):
    journal.ready(0.0)
    journal.glance(1.0)
    journal.window(2.0, 0, 0)
    journal.write(3.0, "round", round=0, dropped=[1])
    journal.write(4.0, "failed", setting=2, why="84x slower", died=False)
    journal.write(5.0, "complete")

    journal.ready(10.0, machine=THERE)

    done = read_progress(journal.directory)
    assert (done.glances, done.windows, done.closed, done.dropped) == ([], [], set(), set())
    assert done.failures == {}
    assert not done.is_complete


def test_who_has_killed_the_workers_is_not_given_another_chance(journal):
    journal.ready(0.0)
    journal.write(1.0, "failed", setting=2, why="a worker process was lost", died=True)

    journal.ready(10.0, machine=THERE)

    assert read_probe(journal.directory).failures == {2: "a worker process was lost"}


def test_groups_are_charged_while_they_are_held_and_a_killed_one_up_to_its_last_line(journal):
    journal.write(0.0, "started", num_workers=2)
    journal.ready(10.0)
    journal.glance(14.0)
    # Killed with its driver, some time later; another driver goes on the next day.
    journal.write(90_000.0, "started", num_workers=3)
    journal.ready(90_005.0, num_workers=3)
    journal.write(90_010.0, "ended")

    assert probe_accelerator_s(journal.directory) == 2 * 14.0 + 3 * 10.0


def test_a_group_that_nobody_asked_for_is_charged_from_when_it_was_ready():
    events = [
        {"event": "ready", "time": 5.0, "num_workers": 2},
        {"event": "glance", "time": 7.5},
    ]

    assert accelerator_s(events) == 2 * 2.5


def test_each_precision_is_charged_for_what_was_measured_of_it(journal):
    journal.write(0.0, "started", num_workers=2)
    journal.ready(10.0)
    journal.write(10.0, "looking", settings=[1, 2])
    journal.write(13.0, "failed", setting=1, why="slow", died=False)
    journal.write(13.0, "failed", setting=2, why="slow", died=False)
    journal.write(13.0, "looking", settings=[0])
    journal.window(13.5, 0, 0)
    journal.write(13.5, "round", round=0, dropped=[])
    journal.write(60.0, "ended")

    seconds = probe_seconds_by_precision(
        journal.directory, [setting(0, "fp32"), setting(1, "bf16"), setting(2, "bf16")]
    )

    assert seconds == {"bf16": 2 * 3.0, "fp32": 2 * 0.5}


def test_whoever_is_looked_at_when_the_journal_ends_is_to_blame():
    looking = {"event": "looking", "time": 0.0, "settings": [3, 4]}
    measured = {"event": "window", "time": 1.0, "record": {}}

    assert looked_at([looking]) == (3, 4)
    assert looked_at([looking, measured]) == ()
    assert looked_at([]) == ()
