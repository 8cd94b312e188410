"""The same training in Hugging Face Accelerate, as its documentation writes a loop."""

from __future__ import annotations

from raymi.bench.task import choose_precision, prepare_task
from raymi.bench.turnstile import Entrance
from raymi.specs.precision import Precision
from raymi.train.plan import TrainPlan

_PRECISIONS = {
    Precision.FP32: "no",
    Precision.TF32: "no",
    Precision.BF16: "bf16",
    Precision.FP16: "fp16",
}


def train(plan: TrainPlan, entrance: Entrance, *, is_gpu: bool) -> None:
    """Be one rank, started by torchrun, until the coordinator has seen enough.

    Raises:
        CapabilityError: Accelerate has no such precision.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    spec = plan.spec
    accelerator = Accelerator(
        cpu=not is_gpu,
        mixed_precision=choose_precision(spec.precision, _PRECISIONS),
        gradient_accumulation_steps=spec.batch.accumulation_steps(spec.resources.max_workers),
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )
    task = prepare_task(plan)
    model, optimizer, loader = accelerator.prepare(
        task.model, task.optimizer, task.loader(task.batches())
    )
    course = entrance.course(
        rank=accelerator.process_index,
        steps_per_epoch=task.steps_per_epoch,
        device=accelerator.device,
    )
    max_norm = spec.optimizer.max_gradient_norm
    model.train()
    while True:
        for inputs, targets in loader:
            with accelerator.accumulate(model):
                loss = task.loss(model(inputs), targets)
                accelerator.backward(loss)
                if accelerator.sync_gradients and max_norm is not None:
                    accelerator.clip_grad_norm_(model.parameters(), max_norm)
                optimizer.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients and course.is_over():
                return
