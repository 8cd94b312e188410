"""A rollout is changed from outside; replicas that refuse a version leave the old one answering."""

import pytest

from raymi.errors import ConflictError, DeploymentError, NotFoundError, RaymiError
from raymi.serve.rollout.control import RolloutControl, Share
from raymi.serve.rollout.files import RolloutFiles, served_references
from raymi.serve.rollout.state import Breach
from tests.unit.serve.rollouts import RULES, Replica, serving, version

EVERYTHING = Share()


class Desk:
    """An application with two replicas; time passes when somebody waits."""

    def __init__(self, store_dir, *, broken=(), during=None):
        self.files = RolloutFiles(store_dir, "digits")
        self.files.write(serving(1))
        self.replicas = [Replica("a", self.files), Replica("b", self.files, broken=broken)]
        self.time_s = 0.0
        self._during = during
        self.control = RolloutControl(
            self.files,
            lambda: frozenset(replica.name for replica in self.replicas),
            sleep=self.sleep,
            now_s=lambda: self.time_s,
        )
        self.look()

    def sleep(self, seconds):
        self.time_s += max(seconds, 0.5)
        if self._during is not None:
            self._during(self)
        self.look()

    def look(self):
        for replica in self.replicas:
            replica.look()

    def deploy(self, number, share=EVERYTHING):
        return self.control.deploy(version(number), RULES, share=share, timeout_s=30.0)


def test_a_version_answers_once_every_replica_has_it(tmp_path):
    desk = Desk(tmp_path)

    now = desk.deploy(2)

    assert (now.active, now.previous) == (version(2), version(1))
    assert desk.files.read() == now


def test_a_version_that_one_replica_refuses_never_answers(tmp_path):
    desk = Desk(tmp_path, broken={2})

    with pytest.raises(DeploymentError, match="its sha256 is another"):
        desk.deploy(2)

    now = desk.files.read()
    assert (now.active, now.candidate) == (version(1), None)
    assert "refused by replica b" in now.reason


def test_replicas_that_say_nothing_are_waited_for_and_given_up(tmp_path):
    desk = Desk(tmp_path)
    desk.look = lambda: None

    with pytest.raises(DeploymentError, match="2 of 2 replicas have not finished"):
        desk.deploy(2)

    assert desk.files.read().active == version(1)


def test_a_replica_that_died_is_not_waited_for(tmp_path):
    desk = Desk(tmp_path)
    gone = desk.replicas.pop()

    now = desk.deploy(2)

    assert now.active == version(2)
    assert desk.files.reports()[gone.name].active == version(1)


def test_a_canary_is_completed_on_request(tmp_path):
    desk = Desk(tmp_path)
    tried = desk.deploy(2, Share(canary_percent=10.0))

    now = desk.control.complete()

    assert (tried.active, tried.candidate, tried.canary_percent) == (version(1), version(2), 10.0)
    assert (now.active, now.previous, now.candidate) == (version(2), version(1), None)


def test_going_back_during_a_canary_takes_only_the_canary_away(tmp_path):
    desk = Desk(tmp_path)
    desk.deploy(2)
    desk.deploy(3, Share(shadow_percent=50.0))

    now = desk.control.roll_back("enough")

    assert (now.active, now.previous, now.candidate) == (version(2), version(1), None)


def test_going_back_twice_is_where_one_was(tmp_path):
    desk = Desk(tmp_path)
    desk.deploy(2)

    first, second = desk.control.roll_back("a"), desk.control.roll_back("b")

    assert (first.active, second.active) == (version(1), version(2))


def test_a_version_that_replicas_took_back_is_told_with_the_reason(tmp_path):
    def take_back(desk):
        rollout = desk.files.read()
        if rollout.active == version(2):
            breach = Breach(
                generation=rollout.generation, version=version(2), reason="3 of 3", replica="a"
            )
            desk.files.take_back(breach)

    desk = Desk(tmp_path, during=take_back)

    with pytest.raises(DeploymentError, match="3 of 3"):
        desk.deploy(2)

    assert desk.files.read().active == version(1)


def test_deploying_what_answers_changes_nothing(tmp_path):
    desk = Desk(tmp_path)

    assert desk.deploy(1) == serving(1)


def test_a_change_by_somebody_else_is_noticed(tmp_path):
    def meddle(desk):
        if desk.files.read().candidate == version(2):
            desk.files.write(serving(9).model_copy(update={"generation": 50}))

    desk = Desk(tmp_path, during=meddle)

    with pytest.raises(ConflictError, match="somebody else"):
        desk.deploy(2)

    assert desk.files.read().active == version(9)


def test_there_is_nothing_to_go_back_to_at_first(tmp_path):
    with pytest.raises(ConflictError, match="nothing to roll back to"):
        Desk(tmp_path).control.roll_back("why")


def test_an_application_that_is_not_deployed_has_no_rollout(tmp_path):
    control = RolloutControl(RolloutFiles(tmp_path, "nothing"), frozenset)

    with pytest.raises(NotFoundError):
        control.current()


def test_what_answers_everywhere_is_listed(tmp_path):
    Desk(tmp_path).deploy(2)
    RolloutFiles(tmp_path, "other").write(serving(7))

    assert served_references(tmp_path) == {"digits": ("digits@2",), "other": ("digits@7",)}


def test_what_cannot_be_written_changes_nothing(tmp_path):
    desk = Desk(tmp_path)
    history = desk.files.directory / "history.jsonl"
    history.unlink()
    history.mkdir()

    with pytest.raises(RaymiError, match="cannot be written"):
        desk.deploy(2)

    assert desk.files.read() == serving(1)


def test_of_two_replicas_that_take_a_version_back_the_first_is_remembered(tmp_path):
    desk = Desk(tmp_path)
    now = desk.deploy(2)
    breaches = [
        Breach(generation=now.generation, version=version(2), reason=why, replica="a")
        for why in ("first", "second")
    ]

    for breach in breaches:
        desk.files.take_back(breach)

    assert desk.files.read().reason == "first"


def test_with_no_replicas_because_nobody_asks_a_version_is_deployed_at_once(tmp_path):
    desk = Desk(tmp_path)
    desk.replicas = []
    control = RolloutControl(desk.files, frozenset, sleeps=lambda: True, sleep=desk.sleep)

    now = control.deploy(version(2), RULES, share=EVERYTHING, timeout_s=30.0)

    assert (now.active, now.previous, desk.time_s) == (version(2), version(1), 0.0)
