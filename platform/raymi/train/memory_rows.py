"""Training rows from memory-mapped shards: no copy of the dataset, no Python for each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from raymi.accelerators.catalog import find
from raymi.data.gather import ShardedArrays
from raymi.data.loading import open_shards, read_ahead
from raymi.data.version import Split
from raymi.train.batch import Step
from raymi.train.encoded_rows import (
    SOFT_TARGETS,
    columns_read,
    encode_rows,
    open_soft_targets,
)
from raymi.train.order import RowOrder, row_order, step_cut
from raymi.train.plan import TrainPlan
from raymi.train.step_buffers import Layout, buffer_ring, row_bytes

GROUP_BYTES = 4 << 20
"""Small steps are gathered together up to this size, to ask less often."""

GROUP_ROWS = 8192
"""And up to this many rows."""


class MemoryMappedRows:
    """A RowSource that gathers each step straight from the shards.

    Args:
        plan: The run.
        rank: Of this worker.
        num_workers: Of this attempt.
        order: Unset: the plan's.

    Attributes:
        row_bytes: Of one encoded row with its targets.

    Raises:
        IntegrityError: A shard is damaged.
        DataError: A target is missing or unknown.
    """

    def __init__(
        self, plan: TrainPlan, *, rank: int, num_workers: int, order: RowOrder | None = None
    ) -> None:
        directory, preprocessing = Path(plan.dataset_dir), plan.preprocessing
        read_ahead(directory, plan.dataset, Split.TRAIN)
        shards = open_shards(
            directory, plan.dataset, Split.TRAIN, columns=columns_read(preprocessing)
        )
        self._tables = [ShardedArrays([encode_rows(preprocessing, shard) for shard in shards])]
        if plan.soft_targets is not None:
            outputs = open_soft_targets(plan.soft_targets, plan)
            self._tables.append(ShardedArrays([{SOFT_TARGETS: outputs}]))
        self._order = order or row_order(plan)
        self._cut = step_cut(plan, rank=rank, num_workers=num_workers)
        layout = {
            name: (column.row_shape, column.dtype)
            for table in self._tables
            for name, column in table.columns.items()
        }
        self.row_bytes = row_bytes(layout)
        self._steps_per_group = _steps_per_group(layout, self._cut.share(self._cut.rows_in(0)))
        self._ring = buffer_ring(
            layout,
            self._cut,
            steps_per_group=self._steps_per_group,
            is_gpu=find(plan.accelerator).is_gpu,
        )

    @property
    def num_rows(self) -> int:
        """Training rows, over all workers."""
        return self._cut.num_rows

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return self._cut.steps_per_epoch

    def steps(self, epoch: int, first_step: int) -> Iterator[Step]:
        """The steps of an epoch from `first_step` on."""

        def fill(group: range, room: Mapping[str, Tensor]) -> None:
            rows = self._cut.rows_of(self._order, epoch, group)
            for table in self._tables:
                table.gather(rows, {name: room[name] for name in table.columns})

        groups = self._cut.groups(first_step, steps_per_group=self._steps_per_group)
        return self._ring.steps(groups, fill)

    def close(self) -> None:
        """End the thread that gathers ahead, if there is one."""
        self._ring.close()


def _steps_per_group(layout: Layout, share: int) -> int:
    return max(1, min(GROUP_BYTES // (row_bytes(layout) * share), GROUP_ROWS // share))
