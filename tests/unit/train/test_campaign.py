"""What ends an attempt decides what comes next; no Ray, no clock, no workers here."""

from pathlib import Path

import pytest
import torch

from raymi.accelerators.catalog import CPU
from raymi.errors import TrainingError
from raymi.specs.rows import RowSourceName
from raymi.train.campaign import Campaign
from raymi.train.events import EVENTS_FILE, EventLog, read_events
from raymi.train.failure import ROOM_PATIENCE_S
from raymi.train.interruption import LeaveNote
from raymi.train.outcome import OUTCOME_FILE, Outcome
from raymi.train.worker_group import Room
from tests.contract.row_source_contract import make_plan

OUT_OF_MEMORY = torch.OutOfMemoryError("HIP out of memory")
LOST = RuntimeError("broken pipe")
DIED = type("ActorDiedError", (Exception,), {})("killed")
DIVERGED = TrainingError("diverged", reason="diverged", why="nan", fix="lower the rate")
TAKEN = type("WorkerGroupStartupTimeoutError", (Exception,), {})("30 s")
OUTCOME = Outcome(metrics={}, samples_per_s=1.0, peak_memory_gib=0.0, duration_s=1.0, num_steps=9)


class World:
    """A cluster, its clock, and workers that end as the test says, attempt after attempt.

    Each ending is an exception, `leave` (as soon as the workers are asked to) or `finish`. Time
    passes while somebody sleeps or watches.
    """

    def __init__(self, run_dir, endings, *, cpus, told_to_end_at_s, lasts_s):
        self.now_s = 0.0
        self.started = []
        self._run_dir = run_dir
        self._log = EventLog(run_dir / EVENTS_FILE)
        self._endings = list(endings)
        self._cpus = cpus
        self._told_to_end_at_s = told_to_end_at_s
        self._lasts_s = lasts_s
        self._num_running = 0
        self._ends_at_s = 0.0

    @property
    def count(self):
        """Of requests to end, so far."""
        return sum(at_s <= self.now_s for at_s in self._told_to_end_at_s)

    def sleep(self, seconds):
        self.now_s += seconds

    def free(self):
        return [{"CPU": float(self._cpus(self.now_s) - self._num_running)}]

    def start(self, plan, num_workers):
        self.started.append((num_workers, plan.micro_batch_size))
        self._num_running = num_workers
        self._ends_at_s = self.now_s + self._lasts_s
        if self._endings[0] is not TAKEN:
            self._log.append("attempt", step=0)
        return self

    def has_ended(self, *, within_s):
        self.now_s += within_s
        ending, cause = self._endings[0], LeaveNote(self._run_dir).read()
        if cause is None if ending == "leave" else self.now_s < self._ends_at_s:
            return False
        self._endings.pop(0)
        self._num_running = 0
        if isinstance(ending, Exception):
            raise ending
        if ending == "leave":
            self._log.append("left", step=7, cause=cause.value)
        else:
            OUTCOME.save(self._run_dir / OUTCOME_FILE)
        return True


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    return make_plan(tmp_path_factory.mktemp("things"), RowSourceName.MEMORY_MAP)


@pytest.fixture
def campaign(things, tmp_path):
    """The world of a run of two workers on two CPUs, or as said; `run` lets it go."""

    def campaign(*endings, cpus=lambda now_s: 2, told_to_end_at_s=(), lasts_s=1.0, **changes):
        document = things.spec.to_document() | {"resources": {"num_workers": 2}} | changes
        spec = type(things.spec).from_document(document)
        world = World(
            tmp_path, endings, cpus=cpus, told_to_end_at_s=told_to_end_at_s, lasts_s=lasts_s
        )
        world.run = Campaign(
            things.model_copy(update={"run_dir": str(tmp_path), "spec": spec}),
            room=Room(spec.resources, CPU, world.free),
            start=world.start,
            end_requests=world,
            clock=lambda: world.now_s,
            sleep=world.sleep,
        ).run
        return world

    return campaign


def failures(run_dir: Path) -> list[tuple[str, str]]:
    events = read_events(run_dir / EVENTS_FILE)
    return [(e["reason"], e["policy"]) for e in events if e["event"] == "failure"]


def causes(run_dir: Path) -> list[str]:
    return [e["cause"] for e in read_events(run_dir / EVENTS_FILE) if e["event"] == "left"]


def test_a_run_that_finishes_has_one_attempt(campaign, tmp_path):
    world = campaign("finish")

    assert world.run() == (OUTCOME, 1)
    assert world.started == [(2, 4)]
    assert failures(tmp_path) == []


def attempts(run_dir: Path) -> list[tuple[str, int | None]]:
    return [
        (event["event"], event.get("num_workers"))
        for event in read_events(run_dir / EVENTS_FILE)
        if event["event"] in ("starting", "ended")
    ]


def test_every_attempt_is_written_down_from_start_to_end_however_it_ends(campaign, tmp_path):
    campaign(DIED, TAKEN, "finish").run()

    assert attempts(tmp_path) == [("starting", 2), ("ended", None)] * 3


def test_a_driver_that_lets_its_workers_be_has_ended_the_attempt(campaign, tmp_path):
    with pytest.raises(TrainingError):
        campaign("leave", told_to_end_at_s=(1.0, 1.0), lasts_s=1e9).run()

    assert attempts(tmp_path) == [("starting", 2), ("ended", None)]


def test_what_may_pass_is_tried_again(campaign, tmp_path):
    world = campaign(DIED, LOST, "finish")

    assert world.run()[1] == 3
    assert failures(tmp_path) == [("worker_died", "retry"), ("worker_died", "retry")]


def test_but_not_more_often_than_the_spec_says(campaign, tmp_path):
    world = campaign(DIED, DIED, checkpoint={"max_failures": 1})

    with pytest.raises(TrainingError, match="after 2 attempts") as caught:
        world.run()

    assert caught.value.reason == "worker_died"
    assert failures(tmp_path) == [("worker_died", "retry"), ("worker_died", "stop")]


def test_a_diverged_run_ends_at_once(campaign, tmp_path):
    world = campaign(DIVERGED)

    with pytest.raises(TrainingError) as caught:
        world.run()

    assert caught.value.reason == "diverged"
    assert failures(tmp_path) == [("diverged", "stop")]


def test_memory_that_runs_out_halves_the_micro_batch_until_the_spec_says_enough(campaign):
    world = campaign(*[OUT_OF_MEMORY] * 3, health={"memory_shrinks": 2})

    with pytest.raises(TrainingError) as caught:
        world.run()

    assert caught.value.reason == "out_of_memory"
    assert world.started == [(2, 4), (2, 2), (2, 1)]


def test_a_failure_does_not_give_the_micro_batch_back(campaign):
    world = campaign(OUT_OF_MEMORY, DIED, "finish")

    world.run()

    assert world.started == [(2, 4), (2, 2), (2, 2)]


def test_a_fixed_run_whose_node_is_gone_for_good_ends_when_patience_does(campaign, tmp_path):
    world = campaign(DIED, cpus=lambda now_s: 2 if now_s < 1 else 1)

    with pytest.raises(TrainingError, match="no room for the workers in time") as caught:
        world.run()

    assert caught.value.reason == "no_room"
    assert caught.value.why == ("for 300 s: 2 workers need 1 CPU each; free on each node: 1 CPU")
    assert "num_workers to a range" in caught.value.fix
    assert failures(tmp_path)[-1] == ("no_room", "stop")
    assert world.now_s == pytest.approx(ROOM_PATIENCE_S, abs=3)


def test_an_elastic_run_goes_on_with_the_worker_that_is_left(campaign):
    world = campaign(
        DIED,
        "finish",
        cpus=lambda now_s: 2 if now_s < 1 else 1,
        resources={"num_workers": {"min": 1, "max": 2}},
    )

    world.run()

    assert [num_workers for num_workers, _ in world.started] == [2, 1]


def test_and_takes_the_second_back_once_there_is_room_for_it(campaign, tmp_path):
    world = campaign(
        "leave",
        "finish",
        cpus=lambda now_s: 1 if now_s < 40 else 2,
        resources={"num_workers": {"min": 1, "max": 2}},
    )

    world.run()

    assert [num_workers for num_workers, _ in world.started] == [1, 2]
    assert causes(tmp_path) == ["resize"]
    assert LeaveNote(tmp_path).read() is None


def test_a_place_that_others_took_first_is_asked_for_again_and_is_no_failure(campaign, tmp_path):
    world = campaign(*[TAKEN] * 5, "finish", checkpoint={"max_failures": 0}, lasts_s=30.0)

    assert world.run()[1] == 6
    assert failures(tmp_path) == [("no_room", "retry")] * 5


def test_a_place_that_others_keep_taking_ends_the_run_when_patience_does(campaign):
    world = campaign(*[TAKEN] * 99, lasts_s=30.0)

    with pytest.raises(TrainingError, match="after 10 attempts") as caught:
        world.run()

    assert caught.value.reason == "no_room"


def test_a_job_that_is_told_to_end_has_its_workers_save_and_leave(campaign, tmp_path):
    world = campaign("leave", told_to_end_at_s=[1.0])

    with pytest.raises(TrainingError, match="was stopped") as caught:
        world.run()

    assert caught.value.reason == "preempted"
    assert "step 7 is saved" in caught.value.why
    assert "--resume run" in caught.value.fix
    assert causes(tmp_path) == ["stop"]


def test_told_twice_it_does_not_wait_for_them(campaign):
    world = campaign("finish", lasts_s=1000.0, told_to_end_at_s=[1.0, 2.0])

    with pytest.raises(TrainingError, match="was stopped") as caught:
        world.run()

    assert "no step is saved yet" in caught.value.why
    assert world.now_s < 3.0


def test_told_while_it_waits_for_room_it_ends_at_once(campaign):
    world = campaign(cpus=lambda now_s: 0, told_to_end_at_s=[10.0])

    with pytest.raises(TrainingError, match="was stopped"):
        world.run()

    assert world.started == []
    assert world.now_s < 11.0


def test_a_failure_after_it_was_told_is_not_tried_again(campaign):
    world = campaign(DIED, told_to_end_at_s=[0.5])

    with pytest.raises(TrainingError, match="was stopped"):
        world.run()

    assert len(world.started) == 1


def test_a_run_that_finishes_all_the_same_has_finished(campaign):
    world = campaign("finish", told_to_end_at_s=[0.5])

    assert world.run() == (OUTCOME, 1)
