"""TrainingState: what changes during a run, and how it is saved and brought back."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor

from raymi.accelerators.catalog import find
from raymi.errors import IntegrityError
from raymi.models.catalog import build_model
from raymi.train.averaging import WeightAverage
from raymi.train.checkpoint import copied
from raymi.train.network import shard
from raymi.train.optimizer import build_optimizer
from raymi.train.plan import TrainPlan
from raymi.train.precision import build_scaler, prepare_model

_STEP_STRIDE = 1_000_003
"""A prime far above any rank: seeds of (step, rank) pairs do not meet."""

_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)


@dataclass
class TrainingState:
    """Model, optimizer, loss scale and position of one worker."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: WeightAverage | None
    is_sharded: bool
    step: int = 0
    """Optimizer steps done since the start of the run: epoch and data position follow from it."""
    elapsed_s: float = 0.0
    """Seconds of training in earlier attempts up to this step."""

    epoch_loss: tuple[float, float] = (0.0, 0.0)
    """Loss sum and count of the unfinished epoch, over all workers."""

    def snapshot(
        self, *, fingerprint: str, elapsed_s: float, epoch_loss: tuple[float, float]
    ) -> dict[str, Any]:
        """Everything needed to go on, copied to the CPU; every worker of a sharded run calls it."""
        model: dict[str, Any]
        optimizer: dict[str, Any]
        if self.is_sharded:
            model = get_model_state_dict(self.model, options=_FULL)
            optimizer = get_optimizer_state_dict(self.model, self.optimizer, options=_FULL)
        else:
            model = self.model.state_dict()
            optimizer = self.optimizer.state_dict()
        state: dict[str, Any] = copied(
            {
                "model": model,
                "optimizer": optimizer,
                "scaler": self.scaler.state_dict(),
                "average": whole(self.average.state_dict()) if self.average else None,
            }
        )
        position = {
            "spec_fingerprint": fingerprint,
            "step": self.step,
            "elapsed_s": elapsed_s,
            "epoch_loss": epoch_loss,
        }
        return {**position, **state}

    def restore(self, saved: dict[str, Any], *, fingerprint: str) -> None:
        """Go back to a saved state.

        Raises:
            IntegrityError: The checkpoint belongs to another spec.
        """
        if saved["spec_fingerprint"] != fingerprint:
            raise IntegrityError(
                "checkpoint of another run",
                why="it was saved under a spec with a different fingerprint",
                fix="resume with the spec of that run, or start a new run",
            )
        if self.is_sharded:
            set_model_state_dict(self.model, saved["model"], options=_FULL)
            set_optimizer_state_dict(self.model, self.optimizer, saved["optimizer"], options=_FULL)
        else:
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
        if saved["scaler"]:
            self.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self.step = saved["step"]
        self.elapsed_s = saved["elapsed_s"]
        self.epoch_loss = (saved["epoch_loss"][0], saved["epoch_loss"][1])

    def weights(self) -> dict[str, Tensor]:
        """The final weights, averaged if the spec says so, fp32 on the CPU.

        Every worker of a sharded run calls it; only the first gets them.
        """
        if self.average is not None:
            with self.average.applied():
                return self._current_weights()
        return self._current_weights()

    def _current_weights(self) -> dict[str, Tensor]:
        if self.is_sharded:
            state = get_model_state_dict(self.model, options=_FULL)
        else:
            state = self.model.state_dict()
        return {name: _fp32_copy(tensor) for name, tensor in whole(state).items()}


def build_state(
    plan: TrainPlan,
    device: torch.device,
    *,
    world_size: int,
    group: dist.ProcessGroup | None = None,
) -> TrainingState:
    """Untrained state, equal on every rank: weights depend on the spec's seed alone.

    Args:
        plan: What to train.
        device: Where.
        world_size: Workers that share the model.
        group: Those workers, if they are not all of the default group.
    """
    spec = plan.spec
    seed_everything(spec.seed)
    model = build_model(plan.architecture, plan.preprocessing)
    model = prepare_model(model, spec.precision, find(plan.accelerator)).to(device)
    is_sharded = shard(model, spec.parallelism, device=device, world_size=world_size, group=group)
    decay = spec.optimizer.ema_decay
    return TrainingState(
        model=model,
        optimizer=build_optimizer(
            model, spec.optimizer, precision=spec.precision, device=device, seed=spec.seed
        ),
        scaler=build_scaler(spec.precision, device),
        average=WeightAverage(model, decay) if decay is not None else None,
        is_sharded=is_sharded,
    )


def _fp32_copy(tensor: Tensor) -> Tensor:
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", dtype, copy=True).contiguous()


def whole(value: Any) -> Any:
    """The same nested state with sharded tensors gathered; a collective if there are any."""
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, dict):
        return {key: whole(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(whole(below) for below in value)
    return value


def seed_everything(seed: int) -> None:
    """Seed every generator a model could draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def seed_step(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Make dropout a function of position: a resumed run draws what it would have drawn.

    The generators themselves, because `torch.manual_seed` visits every kind of device there is
    and took a twelfth of the time of a small network's step.
    """
    value = seed + _STEP_STRIDE * (step + 1) + rank
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(value)
