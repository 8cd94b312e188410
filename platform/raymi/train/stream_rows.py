"""Training rows streamed through Ray Data, for datasets that no node's memory holds.

Each worker runs a pipeline of its own on its own node: descriptions of groups of steps ->
tasks that read and encode this worker's rows of a group -> blocks in the order of the steps.
The tasks reserve no CPU: on a cluster whose workers hold all of them they must run all the same.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import Any

import numpy as np
import ray
import ray.data
import torch
from ray.data import DataContext, ExecutionResources, TaskPoolStrategy
from torch import Tensor

from raymi.data.preprocessing import Arrays
from raymi.train.batch import Step
from raymi.train.encoded_rows import read_rows
from raymi.train.group_tasks import read_group
from raymi.train.order import step_cut
from raymi.train.plan import TrainPlan
from raymi.train.step_buffers import BufferedRows, Layout, row_bytes

GROUP_BYTES = 32 << 20
"""Largest part of a group that one task makes, unless a single step is larger."""

MAX_GROUP_BATCHES = 1024
"""Of very small batches, a group holds no more than this."""

NUM_TASKS = 2
"""Groups of one worker that are read at the same time."""

NUM_GROUPS_KEPT = 6
"""Groups of one worker in the object store at most: being made, waiting, and being used."""

GROUPS_PER_RUN = 512
"""Groups that are described to Ray Data at a time; each description is an object."""


class StreamedRows(BufferedRows):
    """A RowSource that never holds more than a few groups of steps.

    The order of rows is the plan's `BlockShuffle`. Needs to run inside a Ray job.

    Args:
        plan: The run.
        rank: Of this worker.
        num_workers: Of this attempt.

    Raises:
        IntegrityError: A shard is damaged.
        DataError: A target is missing or unknown.
    """

    def __init__(self, plan: TrainPlan, *, rank: int, num_workers: int) -> None:
        self._plan = plan
        self._rank = rank
        self._num_workers = num_workers
        cut = step_cut(plan, rank=rank, num_workers=num_workers)
        sample = read_rows(plan, np.zeros(1, dtype=np.int64))
        layout: Layout = {
            name: (array.shape[1:], torch.from_numpy(array).dtype) for name, array in sample.items()
        }
        share = cut.share(cut.rows_in(0))
        step_bytes = row_bytes(layout) * share
        steps_per_group = max(
            1,
            min(
                plan.spec.rows.shuffle_block_rows
                * plan.spec.rows.shuffle_window_blocks
                // cut.global_batch_size,
                GROUP_BYTES // step_bytes,
                MAX_GROUP_BATCHES * cut.micro_batch_size // share,
            ),
        )
        self._group_bytes = steps_per_group * step_bytes
        super().__init__(plan, cut, layout, steps_per_group=steps_per_group)

    def steps(self, epoch: int, first_step: int) -> Iterator[Step]:
        """The steps of an epoch from `first_step` on."""
        groups = list(self._groups(first_step))
        with closing(self._blocks(epoch, groups)) as blocks:
            rows = _RowsInTurn(blocks)

            def fill(_group: range, room: Mapping[str, Tensor]) -> None:
                rows.copy_into(room)

            yield from self._ring.steps(iter(groups), fill)

    def _blocks(self, epoch: int, groups: list[range]) -> Generator[Arrays]:
        """This worker's rows of all groups, in order, cut wherever Ray Data likes."""
        for first in range(0, len(groups), GROUPS_PER_RUN):
            part = groups[first : first + GROUPS_PER_RUN]
            batches = self._pipeline(epoch, part).iter_batches(
                batch_size=None, batch_format="numpy", prefetch_batches=1
            )
            yield from batches

    def _pipeline(self, epoch: int, groups: list[range]) -> Any:
        with DataContext.current(_quiet_context(NUM_GROUPS_KEPT * self._group_bytes)):
            described = ray.data.from_items(
                [{"epoch": epoch, "first": group.start, "last": group.stop} for group in groups],
                override_num_blocks=len(groups),
            )
            return described.map_batches(
                read_group,
                batch_size=None,
                batch_format="numpy",
                fn_kwargs={
                    "plan": self._plan.model_dump_json(),
                    "rank": self._rank,
                    "num_workers": self._num_workers,
                },
                num_cpus=0,
                compute=TaskPoolStrategy(size=min(NUM_TASKS, len(groups))),
                # What a task makes is read by this process.
                label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},
            )


class _RowsInTurn:
    """Rows of blocks of any size, taken in amounts of any other."""

    def __init__(self, blocks: Iterator[Arrays]) -> None:
        self._blocks = blocks
        self._block: Arrays = {}
        self._num_taken = 0
        self._num_rows = 0

    def copy_into(self, room: Mapping[str, Tensor]) -> None:
        """Fill tensors with the next rows."""
        arrays = {name: tensor.numpy() for name, tensor in room.items()}
        wanted = len(next(iter(arrays.values())))
        done = 0
        while done < wanted:
            if self._num_taken == self._num_rows:
                self._block = next(self._blocks)
                self._num_rows = len(next(iter(self._block.values())))
                self._num_taken = 0
            count = min(wanted - done, self._num_rows - self._num_taken)
            for name, array in arrays.items():
                array[done : done + count] = self._block[name][
                    self._num_taken : self._num_taken + count
                ]
            self._num_taken += count
            done += count


def _quiet_context(object_store_bytes: int) -> DataContext:
    """Blocks in order, as the tasks made them, within a share of memory, and no output."""
    # It warns that progress bars are off, among other things.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Else a thread counts for Ray's usage statistics for as long as the process lives, and ends
    # the process if Ray is shut down before it.
    os.environ.setdefault("RAY_DATA_USAGE_DISABLED", "1")
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = None
    context.raise_original_map_exception = True
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ExecutionResources.for_limits(
        object_store_memory=object_store_bytes
    )
    return context
