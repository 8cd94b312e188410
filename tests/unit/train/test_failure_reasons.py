"""Whatever a worker group raises has one reason, and the reason decides what happens next."""

import pytest
import torch

from raymi.errors import IntegrityError, TrainingError
from raymi.train.failure import CONSEQUENCES, Reason, classify, may_retry, training_error


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


def test_only_lost_workers_are_worth_another_try():
    retryable = {reason for reason in Reason if CONSEQUENCES[reason].is_retryable}

    assert retryable == {Reason.WORKER_DIED}


def test_retries_end_after_the_allowed_failures():
    tries = [may_retry(Reason.WORKER_DIED, attempts=n, max_failures=2) for n in (1, 2, 3)]

    assert tries == [True, True, False]


def test_the_final_error_names_run_reason_and_remedy():
    error = training_error(WorkerGroupError({0: DIVERGED}), run_id="digits-1", attempts=1)

    assert "digits-1" in error.what
    assert (error.reason, error.why) == ("diverged", "nan")
    assert "learning_rate" in error.fix
