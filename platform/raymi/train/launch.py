"""Run a plan on Ray Train, going back to the newest checkpoint when a worker is lost."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray.train
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from raymi.accelerators.catalog import find
from raymi.accelerators.environment import worker_environment
from raymi.train.admission import worker_resources
from raymi.train.events import EVENTS_FILE, EventLog
from raymi.train.failure import classify, may_retry, training_error
from raymi.train.outcome import OUTCOME_FILE, Outcome
from raymi.train.plan import TrainPlan

RAY_DIRECTORY = "ray"
"""Below a run's directory: checkpoints and Ray Train's own state."""


def launch(
    plan: TrainPlan, *, callbacks: Sequence[ray.train.UserCallback] = ()
) -> tuple[Outcome, int]:
    """Train to the end; return what was measured and the number of attempts.

    Raises:
        TrainingError: It failed for a reason that a retry cannot help, or too often.
    """
    run_dir = Path(plan.run_dir)
    log = EventLog(run_dir / EVENTS_FILE)
    attempts = 0
    while True:
        attempts += 1
        try:
            _trainer(plan, callbacks).fit()
        except Exception as error:
            reason = classify(error)
            retry = may_retry(
                reason, attempts=attempts, max_failures=plan.spec.checkpoint.max_failures
            )
            log.append(
                "failure",
                reason=reason.value,
                retry=retry,
                traceback="".join(traceback.format_exception(error))[-4000:],
            )
            if not retry:
                raise training_error(error, run_id=plan.run_id, attempts=attempts) from error
        else:
            return Outcome.load(run_dir / OUTCOME_FILE), attempts


def _trainer(plan: TrainPlan, callbacks: Sequence[ray.train.UserCallback]) -> TorchTrainer:
    accelerator = find(plan.accelerator)
    resources = plan.spec.resources
    return TorchTrainer(
        _worker_function,
        train_loop_config={"plan": plan.model_dump_json()},
        torch_config=TorchConfig(backend=accelerator.collective_backend),
        scaling_config=ScalingConfig(
            num_workers=resources.max_workers,
            use_gpu=accelerator.is_gpu,
            resources_per_worker=worker_resources(resources, accelerator),
            accelerator_type=accelerator.name if accelerator.is_gpu else None,
        ),
        run_config=RunConfig(
            # One name per run: a second attempt finds the checkpoints of the first.
            name=RAY_DIRECTORY,
            storage_path=plan.run_dir,
            checkpoint_config=CheckpointConfig(num_to_keep=plan.spec.checkpoint.keep),
            # Retries are decided by reason, in `launch`: Ray would repeat a diverged run too.
            failure_config=FailureConfig(max_failures=0),
            callbacks=list(callbacks),
            worker_runtime_env={"env_vars": worker_environment(accelerator)},
        ),
    )


def _worker_function(config: dict[str, Any]) -> None:
    from raymi.train.launcher import RayTrainLauncher
    from raymi.train.loop import train_worker

    train_worker(TrainPlan.model_validate_json(config["plan"]), RayTrainLauncher())
