"""The learning rate is a pure function of the step, with the shape the spec names."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from raymi.specs.optimizer import OptimizerSpec, ScheduleShape, ScheduleSpec
from raymi.train.optimizer import build_optimizer, learning_rate

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


@given(st.integers(1, 500), st.floats(0.0, 0.9), st.sampled_from(ScheduleShape))
def test_no_rate_leaves_the_range_up_to_the_peak(total_steps, warmup, shape):
    values = rates(total_steps, ScheduleSpec(shape=shape, warmup_fraction=warmup))

    assert all(0.0 < value <= 0.1 + 1e-12 for value in values)


def test_the_warm_up_ends_at_the_peak():
    values = rates(100, ScheduleSpec(warmup_fraction=0.1))

    assert values[9] == pytest.approx(0.1)
    assert values[:10] == sorted(values[:10])


def test_the_last_step_uses_the_final_fraction():
    assert rates(100, ScheduleSpec(final_fraction=0.25))[-1] == pytest.approx(0.025)


def test_a_constant_schedule_stays_at_the_peak():
    schedule = ScheduleSpec(shape=ScheduleShape.CONSTANT, warmup_fraction=0.0)

    assert set(rates(10, schedule)) == {0.1}


def test_only_matrices_decay():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))

    decayed, kept = build_optimizer(model, OptimizerSpec(weight_decay=0.5)).param_groups

    assert [p.ndim for p in decayed["params"]] == [2]
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.5, 0.0)
    assert math.prod(len(g["params"]) for g in (decayed, kept)) == 3
