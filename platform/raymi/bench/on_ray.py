"""Raymi on Ray Train as a contestant: the worker group of `raymi.train.launch`, in turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from raymi.accelerators.catalog import find
from raymi.accelerators.environment import worker_environment
from raymi.bench.turnstile import Entrance
from raymi.train import cluster
from raymi.train.admission import worker_resources
from raymi.train.plan import TrainPlan


def train_on_ray(plan: TrainPlan, entrance: Entrance) -> None:
    """Start a private Ray and train on it until the coordinator has seen enough."""
    cluster.join()
    accelerator = find(plan.accelerator)
    resources = plan.spec.resources
    TorchTrainer(
        _worker_function,
        train_loop_config={
            "plan": plan.model_dump_json(),
            "socket": str(entrance.socket_path),
            "name": entrance.contestant,
        },
        torch_config=TorchConfig(backend=accelerator.collective_backend),
        scaling_config=ScalingConfig(
            num_workers=resources.max_workers,
            use_gpu=accelerator.is_gpu,
            resources_per_worker=worker_resources(resources, accelerator),
            accelerator_type=accelerator.name if accelerator.is_gpu else None,
        ),
        run_config=RunConfig(
            name="ray",
            storage_path=plan.run_dir,
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
            worker_runtime_env={
                "env_vars": worker_environment(
                    accelerator, num_workers=resources.max_workers, precision=plan.spec.precision
                )
            },
        ),
    ).fit()


def _worker_function(config: dict[str, Any]) -> None:
    from raymi.bench.contestant import train_in_turns
    from raymi.train.launcher import RayTrainLauncher

    plan = TrainPlan.model_validate_json(config["plan"])
    entrance = Entrance(Path(config["socket"]), config["name"])
    train_in_turns(plan, RayTrainLauncher(), entrance)
