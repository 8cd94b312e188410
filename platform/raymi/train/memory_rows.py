"""Training rows from memory-mapped shards: no copy of the dataset, no Python for each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

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
from raymi.train.order import row_order, step_cut
from raymi.train.plan import TrainPlan
from raymi.train.step_buffers import BufferedRows, Layout, row_bytes

GROUP_BYTES = 4 << 20
"""Small steps are gathered together up to this size, to ask less often."""

GROUP_ROWS = 8192
"""And up to this many rows."""


class MemoryMappedRows(BufferedRows):
    """A RowSource that gathers each step straight from the shards.

    Args:
        plan: The run.
        rank: Of this worker.
        num_workers: Of this attempt.

    Attributes:
        row_bytes: Of one encoded row with its targets.

    Raises:
        IntegrityError: A shard is damaged.
        DataError: A target is missing or unknown.
    """

    def __init__(self, plan: TrainPlan, *, rank: int, num_workers: int) -> None:
        directory, preprocessing = Path(plan.dataset_dir), plan.preprocessing
        read_ahead(directory, plan.dataset, Split.TRAIN)
        shards = open_shards(
            directory, plan.dataset, Split.TRAIN, columns=columns_read(preprocessing)
        )
        self._tables = [ShardedArrays([encode_rows(preprocessing, shard) for shard in shards])]
        if plan.soft_targets is not None:
            outputs = open_soft_targets(plan.soft_targets, plan)
            self._tables.append(ShardedArrays([{SOFT_TARGETS: outputs}]))
        self._order = row_order(plan)
        layout = {
            name: (column.row_shape, column.dtype)
            for table in self._tables
            for name, column in table.columns.items()
        }
        self.row_bytes = row_bytes(layout)
        cut = step_cut(plan, rank=rank, num_workers=num_workers)
        super().__init__(
            plan, cut, layout, steps_per_group=_steps_per_group(layout, cut.share(cut.rows_in(0)))
        )

    def steps(self, epoch: int, first_step: int) -> Iterator[Step]:
        """The steps of an epoch from `first_step` on."""

        def fill(group: range, room: Mapping[str, Tensor]) -> None:
            rows = self._cut.rows_of(self._order, epoch, group)
            for table in self._tables:
                table.gather(rows, {name: room[name] for name in table.columns})

        return self._ring.steps(self._groups(first_step), fill)


def _steps_per_group(layout: Layout, share: int) -> int:
    return max(1, min(GROUP_BYTES // (row_bytes(layout) * share), GROUP_ROWS // share))
