"""A Ray Train worker group, from its start to its end: one attempt at a run, or one probe."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.execution.callback import WorkerGroupCallback

from raymi.accelerators.catalog import Accelerator, find
from raymi.accelerators.environment import check_visible_devices, worker_environment
from raymi.specs.precision import Precision
from raymi.specs.resources import ResourceSpec
from raymi.train.admission import worker_resources
from raymi.train.plan import TrainPlan


class Attempt:
    """Runs a worker group in a thread of its own, so that the driver stays free to look around.

    And because in the main thread Ray Train would take Ctrl-C for itself, end the run without
    saving, and exit with 0.
    """

    def __init__(self, make_trainer: Callable[[str], TorchTrainer]) -> None:
        """Start it.

        Args:
            make_trainer: From a directory that Ray may write to, to what is to be run.
        """
        self._make_trainer = make_trainer
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="attempt", daemon=True)
        self._thread.start()

    def has_ended(self, *, within_s: float) -> bool:
        """Wait a little; whether all workers have returned.

        Raises:
            TrainingFailedError: Of Ray; they have not returned, and why.
        """
        self._thread.join(within_s)
        if self._thread.is_alive():
            return False
        if self._error is not None:
            raise self._error
        return True

    def _run(self) -> None:
        # Ray wants to write a marker somewhere; in the store, an attempt could not even start
        # while that is away.
        with tempfile.TemporaryDirectory(prefix="raymi-") as directory:
            try:
                self._make_trainer(directory).fit()
            except Exception as error:  # noqa: BLE001 - raised again by `has_ended`
                self._error = error


@dataclass(frozen=True, slots=True)
class Group:
    """A worker group, whatever it works at."""

    name: str
    """Of the run or sweep; its kernel caches are kept under it."""

    accelerator: Accelerator
    resources: ResourceSpec
    num_workers: int
    precision: Precision
    """Of most of the work; some libraries are told beforehand."""


def make_trainer(
    function: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    group: Group,
    *,
    directory: str,
    callbacks: Sequence[ray.train.UserCallback] = (),
) -> TorchTrainer:
    """What runs a function in every worker of a group, once and without retries.

    Args:
        function: Of a module of ours; runs in each worker with torch.distributed ready.
        config: Its argument; plain values.
        group: Who runs it.
        directory: Ray may write there.
        callbacks: Ray Train's.
    """
    accelerator = group.accelerator
    return TorchTrainer(
        function,
        train_loop_config=config,
        torch_config=TorchConfig(backend=accelerator.collective_backend),
        scaling_config=ScalingConfig(
            num_workers=group.num_workers,
            use_gpu=accelerator.is_gpu,
            resources_per_worker=worker_resources(group.resources, accelerator),
            accelerator_type=accelerator.name if accelerator.is_gpu else None,
        ),
        run_config=RunConfig(
            name=f"{group.name}-{Path(directory).name}",
            storage_path=directory,
            # Retries are decided by reason, by the driver: Ray would repeat a diverged run too,
            # and wait for ever for a place that a lost node has taken with it.
            failure_config=FailureConfig(
                max_failures=0, controller_failure_limit=0, max_preemption_failures=0
            ),
            callbacks=[*callbacks, _ListenForSigterm()],
            worker_runtime_env={
                "env_vars": worker_environment(
                    accelerator,
                    num_workers=group.num_workers,
                    precision=group.precision,
                    # On a disk of each node: kernel caches break on shared file systems.
                    cache_dir=Path(tempfile.gettempdir()) / f"raymi-{group.name}",
                )
            },
        ),
    )


def start_training(
    plan: TrainPlan, num_workers: int, *, callbacks: Sequence[ray.train.UserCallback] = ()
) -> Attempt:
    """Start so many workers on a run."""
    group = Group(
        name=plan.run_id,
        accelerator=find(plan.accelerator),
        resources=plan.spec.resources,
        num_workers=num_workers,
        precision=plan.spec.precision,
    )
    config = {"plan": plan.model_dump_json()}
    return Attempt(
        lambda directory: make_trainer(
            _train, config, group, directory=directory, callbacks=callbacks
        )
    )


class _ListenForSigterm(WorkerGroupCallback):  # type: ignore[misc]  # Ray is untyped
    """Has each worker process take SIGTERM as a request to save and leave.

    The training function runs in a thread, and only the main thread may set a handler.
    """

    def before_init_train_context(self, workers: list[Any]) -> dict[str, list[Any]]:
        """Runs in the controller once the workers are there; see `WorkerGroupCallback`."""
        from raymi.train.interruption import listen_for_sigterm

        ray.get([worker.execute_async(listen_for_sigterm) for worker in workers])
        return {}


def _train(config: dict[str, Any]) -> None:
    from raymi.train.launcher import RayTrainLauncher
    from raymi.train.loop import train_worker

    plan = TrainPlan.model_validate_json(config["plan"])
    if find(plan.accelerator).vendor == "amd":
        check_visible_devices(os.environ)
    train_worker(plan, RayTrainLauncher())
