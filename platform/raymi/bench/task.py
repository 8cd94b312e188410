"""The work that other people's libraries are given: Raymi's model, rows and settings.

Everything a script of theirs would write itself is here at its best: rows are normalised
once, before training, and a batch is one vectorised gather.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from raymi.accelerators.catalog import find
from raymi.data.loading import load_split
from raymi.data.preprocessing import ClassTarget
from raymi.errors import CapabilityError
from raymi.models.catalog import build_model
from raymi.specs.data import Split
from raymi.specs.optimizer import OptimizerName
from raymi.specs.precision import Precision
from raymi.train.plan import TrainPlan

Inputs = dict[str, Tensor]
Batch = tuple[Inputs, Tensor]


class Rows(Dataset[Batch]):
    """All training rows as normalised tensors; indexed by a tensor of row numbers."""

    def __init__(self, plan: TrainPlan) -> None:
        table = load_split(Path(plan.dataset_dir), plan.dataset, Split.TRAIN)
        prepared = plan.preprocessing.prepare(plan.preprocessing.encode(table))
        self.inputs: Inputs = {name: _tensor(array) for name, array in prepared.items()}
        self.targets = _tensor(plan.preprocessing.encode_target(table))

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, rows: Tensor) -> Batch:
        return {name: values[rows] for name, values in self.inputs.items()}, self.targets[rows]


class ShuffledBatches(BatchSampler):
    """Row numbers of each micro-batch as one tensor, in a new order each epoch.

    It is a `BatchSampler` because Accelerate shards those, and draws from its sampler's
    generator because Accelerate gives all ranks the same one.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        micro_batch_size: int,
        num_batches: int,
        seed: int,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        """Cut an epoch into `num_batches` and take every `num_ranks`-th, from `rank` on."""
        self._shuffle = RandomSampler(rows, generator=torch.Generator().manual_seed(seed))
        super().__init__(self._shuffle, micro_batch_size, drop_last=True)
        self._num_rows = len(rows)
        self._chosen = range(rank, num_batches, num_ranks)

    def __iter__(self) -> Iterator[Tensor]:  # type: ignore[override]
        order = torch.randperm(self._num_rows, generator=self._shuffle.generator)
        batches = torch.split(order, self.batch_size)
        for number in self._chosen:
            yield batches[number]

    def __len__(self) -> int:
        return len(self._chosen)


@dataclass(frozen=True, slots=True)
class Task:
    """What to train, and how."""

    plan: TrainPlan
    rows: Rows
    model: nn.Module
    optimizer: torch.optim.Optimizer

    @property
    def num_workers(self) -> int:
        """Ranks."""
        return self.plan.spec.resources.max_workers

    @property
    def accumulation_steps(self) -> int:
        """Micro-batches of each rank in one optimizer step."""
        return self.plan.spec.batch.accumulation_steps(self.num_workers)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch; rows that do not fill one are left out."""
        micro_batches = len(self.rows) // self.plan.micro_batch_size // self.num_workers
        return micro_batches // self.accumulation_steps

    @property
    def is_gpu(self) -> bool:
        """Whether each rank has an accelerator."""
        return find(self.plan.accelerator).is_gpu

    def batches(self, *, rank: int = 0, num_ranks: int = 1) -> ShuffledBatches:
        """A rank's micro-batches; by default, all of them."""
        return ShuffledBatches(
            self.rows,
            micro_batch_size=self.plan.micro_batch_size,
            num_batches=self.steps_per_epoch * self.accumulation_steps * self.num_workers,
            seed=self.plan.spec.seed,
            rank=rank,
            num_ranks=num_ranks,
        )

    def loader(self, batches: ShuffledBatches) -> DataLoader[Batch]:
        """A DataLoader that neither takes rows apart nor collates them."""
        return DataLoader(
            self.rows,
            sampler=batches,
            batch_size=None,
            collate_fn=_as_it_is,
            pin_memory=self.is_gpu,
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean over a micro-batch."""
        if isinstance(self.plan.preprocessing.target, ClassTarget):
            return functional.cross_entropy(outputs.float(), targets)
        return functional.mse_loss(outputs.float().squeeze(1), targets)


def prepare_task(plan: TrainPlan) -> Task:
    """Load rows, build model and optimizer, set the number of threads."""
    torch.set_num_threads(plan.spec.resources.cpus_per_worker)
    torch.manual_seed(plan.spec.seed)
    if plan.spec.precision is Precision.TF32:
        torch.set_float32_matmul_precision("high")
    model = build_model(plan.architecture, plan.preprocessing)
    if find(plan.accelerator).is_gpu:
        # Before the optimizer, which looks at where its parameters are.
        model = model.to(torch.device("cuda", torch.cuda.current_device()))
    return Task(plan=plan, rows=Rows(plan), model=model, optimizer=_optimizer(plan, model))


def choose_precision(precision: Precision, names: dict[Precision, str]) -> str:
    """What a library calls a precision.

    Raises:
        CapabilityError: It has no such thing.
    """
    if precision not in names:
        raise CapabilityError(
            f"precision {precision.value}: nothing to compare with",
            why="this library has no policy that computes the same",
            fix="compare another precision",
        )
    return names[precision]


def _optimizer(plan: TrainPlan, model: nn.Module) -> torch.optim.Optimizer:
    spec = plan.spec.optimizer
    parameters = list(model.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": spec.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    # Both libraries refuse to clip when an fp16 optimizer unscales for itself.
    fused = plan.spec.precision is not Precision.FP16
    if spec.name is OptimizerName.SGD:
        return torch.optim.SGD(groups, lr=spec.learning_rate, momentum=spec.momentum, fused=fused)
    betas = (spec.momentum, spec.beta2)
    return torch.optim.AdamW(groups, lr=spec.learning_rate, betas=betas, fused=fused)


def _tensor(array: np.ndarray) -> Tensor:
    # A copy: columns may be read-only views of files.
    return torch.from_numpy(np.array(array))


def _as_it_is(batch: Any) -> Any:
    return batch
