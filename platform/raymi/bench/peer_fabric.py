"""The same training in Lightning Fabric, as its documentation writes a loop."""

from __future__ import annotations

from raymi.bench.task import choose_precision, prepare_task
from raymi.bench.turnstile import Entrance
from raymi.specs.precision import Precision
from raymi.train.plan import TrainPlan

_PRECISIONS = {
    Precision.FP32: "32-true",
    Precision.TF32: "32-true",
    Precision.BF16: "bf16-mixed",
    Precision.FP16: "16-mixed",
}


def train(plan: TrainPlan, entrance: Entrance, *, is_gpu: bool) -> None:
    """Be one rank, started by torchrun, until the coordinator has seen enough.

    Raises:
        CapabilityError: Fabric has no such precision.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    num_workers = plan.spec.resources.max_workers
    fabric = Fabric(
        accelerator="cuda" if is_gpu else "cpu",
        devices=num_workers,
        strategy=DDPStrategy(gradient_as_bucket_view=True) if num_workers > 1 else "auto",
        precision=choose_precision(plan.spec.precision, _PRECISIONS),
    )
    fabric.launch()
    task = prepare_task(plan)
    model, optimizer = fabric.setup(task.model, task.optimizer)
    batches = task.batches(rank=fabric.global_rank, num_ranks=fabric.world_size)
    loader = fabric.setup_dataloaders(task.loader(batches), use_distributed_sampler=False)
    course = entrance.course(
        rank=fabric.global_rank, steps_per_epoch=task.steps_per_epoch, device=fabric.device
    )
    max_norm = plan.spec.optimizer.max_gradient_norm
    accumulation_steps = task.accumulation_steps
    model.train()
    while True:
        for index, (inputs, targets) in enumerate(loader):
            is_accumulating = (index + 1) % accumulation_steps != 0
            with fabric.no_backward_sync(model, enabled=is_accumulating):
                loss = task.loss(model(inputs), targets) / accumulation_steps
                fabric.backward(loss)
            if not is_accumulating:
                if max_norm is not None:
                    fabric.clip_gradients(
                        model, optimizer, max_norm=max_norm, error_if_nonfinite=False
                    )
                optimizer.step()
                optimizer.zero_grad()
                if course.is_over():
                    return
