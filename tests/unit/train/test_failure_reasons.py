"""Whatever a worker group raises has one reason, and the reason decides what happens next."""

import errno

import pytest
import torch

from raymi.errors import IntegrityError, TrainingError
from raymi.train.failure import (
    CONSEQUENCES,
    Allowance,
    Policy,
    Reason,
    Tally,
    classify,
    decide,
    training_error,
)


class WorkerGroupError(Exception):
    """Shaped as Ray Train's: one exception for each failed rank."""

    def __init__(self, worker_failures: dict[int, Exception]) -> None:
        super().__init__("worker group failed")
        self.worker_failures = worker_failures


class ActorDiedError(Exception):
    """Named as Ray's."""


DIVERGED = TrainingError("diverged", reason="diverged", why="nan", fix="lower the rate")
PEER_LOST = RuntimeError("[gloo] Connection closed by peer [127.0.0.1]:1234")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("HIP out of memory. Tried to allocate"), Reason.OUT_OF_MEMORY),
        (MemoryError(), Reason.OUT_OF_MEMORY),
        (DIVERGED, Reason.DIVERGED),
        (ActorDiedError("killed"), Reason.WORKER_DIED),
        (ActorDiedError("destroyed since its placement group was removed"), Reason.STOPPED_EARLY),
        (ActorDiedError("The actor died because its node has died."), Reason.NODE_LOST),
        (OSError(errno.ENOSPC, "No space left on device"), Reason.DISK_FULL),
        (PEER_LOST, Reason.WORKER_DIED),
        (IntegrityError("x", why="y", fix="z"), Reason.DAMAGED_ARTIFACT),
        (ValueError("shape mismatch"), Reason.ERROR),
    ],
    ids=lambda value: value.value if isinstance(value, Reason) else type(value).__name__,
)
def test_an_exception_has_a_reason(error, reason):
    assert classify(error) is reason


def test_the_rank_that_failed_first_outranks_the_peers_that_lost_it():
    error = WorkerGroupError({0: PEER_LOST, 1: DIVERGED})

    assert classify(error) is Reason.DIVERGED


def test_a_reason_is_found_behind_a_wrapper():
    wrapper = RuntimeError("ray says")
    wrapper.__cause__ = WorkerGroupError({0: ActorDiedError("lost")})

    assert classify(wrapper) is Reason.WORKER_DIED


def test_what_may_pass_is_tried_again_memory_shrinks_and_the_rest_stops():
    policies = {reason: CONSEQUENCES[reason].policy for reason in Reason}

    retried = {reason for reason, policy in policies.items() if policy is Policy.RETRY}
    shrunk = {reason for reason, policy in policies.items() if policy is Policy.SHRINK}
    assert retried == {Reason.WORKER_DIED, Reason.NODE_LOST, Reason.NO_ROOM}
    assert shrunk == {Reason.OUT_OF_MEMORY}


@pytest.mark.parametrize(
    ("tally", "policy"),
    [
        (Tally(num_failures=0), Policy.RETRY),
        (Tally(num_failures=1), Policy.RETRY),
        (Tally(num_failures=2), Policy.STOP),
    ],
)
def test_retries_end_after_the_allowed_failures(tally, policy):
    assert decide(Reason.WORKER_DIED, tally, Allowance(max_failures=2, max_shrinks=0)) is policy


@pytest.mark.parametrize(
    ("tally", "policy"),
    [
        (Tally(micro_batch_size=8), Policy.SHRINK),
        (Tally(micro_batch_size=8, num_shrinks=3), Policy.STOP),
        (Tally(micro_batch_size=1), Policy.STOP),
    ],
)
def test_memory_is_saved_until_one_row_is_left(tally, policy):
    assert decide(Reason.OUT_OF_MEMORY, tally, Allowance(max_failures=9, max_shrinks=3)) is policy


@pytest.mark.parametrize(
    ("waited_s", "policy"), [(0, Policy.RETRY), (59, Policy.RETRY), (60, Policy.STOP)]
)
def test_a_run_without_room_tries_as_long_as_patience_lasts(waited_s, policy):
    allowance = Allowance(max_failures=0, max_shrinks=0, room_patience_s=60)

    assert decide(Reason.NO_ROOM, Tally(waited_s=waited_s), allowance) is policy


def test_waiting_for_room_is_no_failure():
    tally = Tally(num_failures=1)

    assert tally.after(Reason.NO_ROOM, Policy.RETRY) == tally
    assert tally.after(Reason.NODE_LOST, Policy.RETRY).num_failures == 2


def test_a_shrink_halves_the_micro_batch_in_force():
    tally = Tally(micro_batch_size=6).after(Reason.OUT_OF_MEMORY, Policy.SHRINK)

    assert (tally.num_shrinks, tally.micro_batch_size, tally.num_failures) == (1, 3, 0)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_what_happened_and_what_to_try(reason):
    consequence = CONSEQUENCES[reason]

    assert consequence.sentence
    assert consequence.fix


def test_the_final_error_names_run_reason_and_remedy():
    error = training_error(WorkerGroupError({0: DIVERGED}), run_id="digits-1", attempts=1)

    assert "digits-1" in error.what
    assert (error.reason, error.why) == ("diverged", "nan")
    assert "learning_rate" in error.fix
