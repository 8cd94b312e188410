"""The learning rate is a pure function of the step, with the shape the spec names."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from raymi.specs.optimizer import OptimizerSpec, ScheduleShape, ScheduleSpec
from raymi.train.optimizer import learning_rate

PEAK = OptimizerSpec(learning_rate=0.1)


def rates(total_steps: int, schedule: ScheduleSpec) -> list[float]:
    return [
        learning_rate(step, total_steps=total_steps, optimizer=PEAK, schedule=schedule)
        for step in range(total_steps)
    ]


def test_the_cosine_agrees_with_pytorch_after_the_warm_up():
    schedule = ScheduleSpec(warmup_fraction=0.0, final_fraction=0.0)
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=49)

    expected = []
    for _ in range(50):
        expected.append(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()

    assert rates(50, schedule) == pytest.approx(expected)


schedules = st.builds(
    ScheduleSpec,
    shape=st.sampled_from(ScheduleShape),
    warmup_fraction=st.floats(0.0, 0.9),
    decay_fraction=st.floats(0.01, 1.0),
    final_fraction=st.floats(0.0, 1.0),
)


@given(st.integers(1, 500), schedules)
def test_no_rate_leaves_the_range_up_to_the_peak(total_steps, schedule):
    assert all(0.0 <= rate <= 0.1 + 1e-12 for rate in rates(total_steps, schedule))


@given(st.integers(2, 500), schedules)
def test_every_falling_curve_ends_at_the_final_fraction(total_steps, schedule):
    values = rates(total_steps, schedule)

    is_warm = schedule.warmup_fraction * total_steps <= total_steps - 1
    if schedule.shape is not ScheduleShape.CONSTANT and is_warm:
        assert values[-1] == pytest.approx(0.1 * schedule.final_fraction)


@given(st.integers(2, 500), schedules)
def test_the_rate_rises_to_the_peak_and_never_rises_again(total_steps, schedule):
    values = rates(total_steps, schedule)
    top = values.index(max(values))

    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)
    assert values[top] == pytest.approx(0.1)


@given(st.integers(100, 500), schedules)
def test_there_is_no_jump_after_the_warm_up(total_steps, schedule):
    schedule = schedule.model_copy(update={"warmup_fraction": 0.1, "decay_fraction": 0.5})
    values = rates(total_steps, schedule)
    end = next(step for step, rate in enumerate(values) if rate == pytest.approx(0.1))

    # The steepest curve falls by pi / 2 times the mean slope, over at least half of the steps.
    assert values[end + 1] >= 0.1 * (1.0 - 2.0 * 1.6 / total_steps)


def test_the_warm_up_ends_at_the_peak():
    values = rates(100, ScheduleSpec(warmup_fraction=0.1))

    assert values[9] == pytest.approx(0.1)
    assert values[:10] == sorted(values[:10])


def test_the_last_step_uses_the_final_fraction():
    assert rates(100, ScheduleSpec(final_fraction=0.25))[-1] == pytest.approx(0.025)


def test_a_constant_schedule_stays_at_the_peak():
    schedule = ScheduleSpec(shape=ScheduleShape.CONSTANT, warmup_fraction=0.0)

    assert set(rates(10, schedule)) == {0.1}


def test_the_line_is_the_line():
    schedule = ScheduleSpec(shape=ScheduleShape.LINEAR, warmup_fraction=0.0, final_fraction=0.0)

    assert rates(5, schedule) == pytest.approx([0.1, 0.075, 0.05, 0.025, 0.0])


def test_stable_decay_agrees_with_pytorchs_constant_then_line():
    schedule = ScheduleSpec(
        shape=ScheduleShape.STABLE_DECAY,
        warmup_fraction=0.0,
        decay_fraction=0.2,
        final_fraction=0.5,
    )
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    line = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.5, total_iters=10)

    expected = [0.1] * 39
    for _ in range(11):
        expected.append(line.get_last_lr()[0])
        optimizer.step()
        line.step()

    assert rates(50, schedule) == pytest.approx(expected)


def test_a_single_step_uses_the_peak():
    for shape in ScheduleShape:
        assert rates(1, ScheduleSpec(shape=shape)) == pytest.approx([0.1])
