"""Run a plan on the Ray cluster this job has joined."""

from __future__ import annotations

from collections.abc import Sequence

import ray.train

from raymi.accelerators.catalog import find
from raymi.train import cluster
from raymi.train.attempt import start_training
from raymi.train.campaign import Campaign
from raymi.train.interruption import counting_end_requests
from raymi.train.outcome import Outcome
from raymi.train.plan import TrainPlan
from raymi.train.worker_group import Room


def launch(
    plan: TrainPlan, *, callbacks: Sequence[ray.train.UserCallback] = ()
) -> tuple[Outcome, int]:
    """Train to the end; return what was measured and the number of attempts.

    In the main thread, SIGTERM and Ctrl-C ask the workers to save and leave; a second one ends
    the job at once.

    Raises:
        TrainingError: It failed for a reason that a retry cannot help, or too often, or the
            job was told to end.
    """
    with counting_end_requests() as end_requests:
        return Campaign(
            plan,
            room=Room(plan.spec.resources, find(plan.accelerator), cluster.free),
            start=lambda plan, num_workers: start_training(plan, num_workers, callbacks=callbacks),
            end_requests=end_requests,
        ).run()
