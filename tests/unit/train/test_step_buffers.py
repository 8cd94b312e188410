"""Buffers go round: filled ahead of their use, and never while somebody still reads them."""

import threading

import pytest
import torch

from raymi.train.encoded_rows import TARGETS
from raymi.train.order import StepCut
from raymi.train.step_buffers import BufferRing, StepBuffer

CUT = StepCut(num_rows=23, global_batch_size=4, micro_batch_size=2, num_workers=1, rank=0)
LAYOUT = {"x": ((3,), torch.uint8), TARGETS: ((), torch.int64)}


def ring(num_buffers: int) -> BufferRing:
    return BufferRing([StepBuffer(LAYOUT, CUT, steps_per_group=2) for _ in range(num_buffers)])


def number_groups(group, room):
    """Every row of a group says with which step it starts."""
    for tensor in room.values():
        tensor.fill_(group.start)


def groups(first: int = 0):
    return CUT.groups(first, steps_per_group=2)


@pytest.mark.parametrize("num_buffers", [1, 2, 3])
def test_each_step_holds_what_was_filled_in_for_its_group(num_buffers):
    buffers = ring(num_buffers)

    steps = [
        (step.num_rows, [int(batch.targets[0]) for batch in step.batches])
        for step in buffers.steps(groups(), number_groups)
    ]

    assert steps == [
        (4, [0, 0]), (4, [0, 0]), (4, [2, 2]), (4, [2, 2]), (4, [4, 4]), (3, [5, 5])
    ]  # fmt: skip
    buffers.close()


def test_several_buffers_are_filled_ahead_but_never_the_one_in_use():
    buffers = ring(2)
    filled = []

    def fill(group, room):
        filled.append((group.start, room[TARGETS].data_ptr()))
        number_groups(group, room)

    for step in buffers.steps(groups(), fill):
        in_use = step.batches[0].targets
        value = int(in_use[0])
        assert len(filled) <= value // 2 + 2 + (value == 5)
        assert (in_use == value).all()

    assert [start for start, _ in filled] == [0, 2, 4, 5]
    assert len({address for _, address in filled}) == 2
    buffers.close()


def test_an_error_while_filling_ahead_reaches_whoever_asks_for_the_step():
    buffers = ring(2)

    def fill(group, room):
        if group.start == 2:
            raise OSError("shard gone")
        number_groups(group, room)

    steps = buffers.steps(groups(), fill)
    next(steps)
    next(steps)

    with pytest.raises(OSError, match="shard gone"):
        next(steps)
    buffers.close()


def test_leaving_early_waits_for_what_is_being_filled():
    buffers = ring(2)
    started, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def fill(group, room):
        if group.start == 2:
            started.set()
            may_end.wait()
            ended.set()

    steps = buffers.steps(groups(), fill)
    next(steps)
    started.wait()
    threading.Timer(0.01, may_end.set).start()
    steps.close()

    assert ended.is_set()
    buffers.close()


class LoggingFence:
    """A device that never lags, and what was asked of it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def record(self) -> None:
        self.log.append("record")

    def synchronize(self) -> None:
        self.log.append("wait")


def test_a_buffer_that_a_gpu_copies_from_is_refilled_only_behind_the_copies():
    fence = LoggingFence()
    buffers = BufferRing([StepBuffer(LAYOUT, CUT, steps_per_group=2, fence=fence)])

    def fill(group, room):
        fence.log.append(f"fill {group.start}")

    for _ in buffers.steps(groups(2), fill):
        fence.log.append("copy")

    assert fence.log == [
        "wait", "fill 2", "copy", "copy", "record",
        "wait", "fill 4", "copy", "record",
        "wait", "fill 5", "copy", "record",
    ]  # fmt: skip


def test_a_buffer_left_in_the_middle_is_noted_as_used():
    fence = LoggingFence()
    buffers = BufferRing([StepBuffer(LAYOUT, CUT, steps_per_group=2, fence=fence)])

    steps = buffers.steps(groups(), lambda group, room: None)
    next(steps)
    steps.close()

    assert fence.log == ["wait", "record"]
