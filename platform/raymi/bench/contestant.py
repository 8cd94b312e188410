"""One rank of a contestant: `python -m raymi.bench.contestant KIND NAME SOCKET PLAN`."""

from __future__ import annotations

import argparse
from pathlib import Path

from raymi.accelerators.catalog import find
from raymi.accelerators.environment import apply_environment
from raymi.bench.contestants import Kind
from raymi.bench.turnstile import Entrance, TurnstileLauncher
from raymi.specs.data import Split
from raymi.train.launcher import Launcher, SingleProcessLauncher, TorchrunLauncher
from raymi.train.loop import train_worker
from raymi.train.plan import TrainPlan


def compete(kind: Kind, plan: TrainPlan, entrance: Entrance) -> None:
    """Take turns until the coordinator has seen enough."""
    accelerator = find(plan.accelerator)
    if kind is not Kind.RAY:  # Ray Train sets it in its workers.
        apply_environment(
            accelerator,
            num_workers=plan.spec.resources.max_workers,
            precision=plan.spec.precision,
        )
    match kind:
        case Kind.RAY:
            from raymi.bench.on_ray import train_on_ray

            train_on_ray(plan, entrance)
        case Kind.TORCHRUN:
            backend = accelerator.collective_backend
            train_in_turns(plan, TorchrunLauncher(backend=backend), entrance)
        case Kind.SINGLE:
            device = f"cuda:{_number(entrance.contestant)}" if accelerator.is_gpu else "cpu"
            train_in_turns(plan, SingleProcessLauncher(device=device), entrance)
        case Kind.FABRIC:
            from raymi.bench import peer_fabric

            peer_fabric.train(plan, entrance, is_gpu=accelerator.is_gpu)
        case Kind.ACCELERATE:
            from raymi.bench import peer_accelerate

            peer_accelerate.train(plan, entrance, is_gpu=accelerator.is_gpu)


def train_in_turns(plan: TrainPlan, launcher: Launcher, entrance: Entrance) -> None:
    """Raymi's own loop behind a turnstile."""
    num_rows = plan.dataset.num_rows(Split.TRAIN)
    course = entrance.course(
        rank=launcher.rank,
        steps_per_epoch=-(-num_rows // plan.spec.batch.global_batch_size),
        device=launcher.device,
    )
    train_worker(plan, TurnstileLauncher(launcher, course))


def _number(contestant: str) -> int:
    return int(contestant.rpartition("-")[2])


def main() -> None:
    """Read the command line and compete."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", type=Kind)
    parser.add_argument("name")
    parser.add_argument("socket", type=Path)
    parser.add_argument("plan", type=Path)
    arguments = parser.parse_args()
    plan = TrainPlan.model_validate_json(arguments.plan.read_text(encoding="utf-8"))
    compete(arguments.kind, plan, Entrance(arguments.socket, arguments.name))


if __name__ == "__main__":
    main()
