"""The average of the weights is the closed form, and comes and goes without a trace."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributed.tensor import Shard, distribute_tensor

from raymi.train.averaging import WeightAverage


def number(value: float = 0.0, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A network of one weight."""
    model = nn.Module()
    model.weight = nn.Parameter(torch.tensor([value], dtype=dtype))
    return model


def visit(model: nn.Module, average: WeightAverage, values: list[float]) -> None:
    for value in values:
        model.weight.data.fill_(value)
        average.update()


def averaged(model: nn.Module, average: WeightAverage) -> float:
    with average.applied():
        return model.weight.item()


@given(st.lists(st.floats(-100.0, 100.0), min_size=1, max_size=30), st.floats(0.01, 0.9999))
def test_it_is_the_mean_weighted_by_powers_of_the_decay(values, decay):
    model = number(1e6)
    average = WeightAverage(model, decay)

    visit(model, average, values)

    powers = [decay**age for age in range(len(values))]
    expected = sum(w * v for w, v in zip(powers, reversed(values), strict=True)) / sum(powers)
    assert averaged(model, average) == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_after_many_steps_it_is_pytorchs_average():
    model = number()
    average = WeightAverage(model, 0.9)
    reference = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    )
    for step in range(200):
        model.weight.data.fill_(float(step % 7))
        average.update()
        reference.update_parameters(model)

    assert averaged(model, average) == pytest.approx(reference.module.weight.item(), rel=1e-5)


def test_the_models_own_weights_come_back_even_after_an_error():
    model = number()
    average = WeightAverage(model, 0.5)
    visit(model, average, [1.0, 2.0])

    with pytest.raises(RuntimeError), average.applied():
        assert model.weight.item() == pytest.approx(5.0 / 3.0)
        raise RuntimeError

    assert model.weight.item() == 2.0


def test_applying_it_does_not_change_the_average():
    model = number(dtype=torch.bfloat16)
    average = WeightAverage(model, 0.9)
    visit(model, average, [1.0, 2.0, 4.0])
    before = copy.deepcopy(average.state_dict())

    averaged(model, average)

    assert average.state_dict() == before


def test_the_average_of_bf16_weights_does_not_stand_still():
    """With a decay of 0.999 each step moves it by less than bf16's last bit."""
    model = number(dtype=torch.bfloat16)
    average = WeightAverage(model, 0.999)
    visit(model, average, [1.0] * 1000 + [2.0] * 1000)

    # The closed form: the newer thousand weighs 1 of 1 + 0.999^1000.
    expected = (2.0 + 0.999**1000) / (1.0 + 0.999**1000)
    assert averaged(model, average) == pytest.approx(expected, rel=2.0**-8)


def test_a_restored_average_goes_on_exactly():
    model = number()
    average = WeightAverage(model, 0.9)
    visit(model, average, [1.0, 5.0, 2.0])
    twin = number()
    restored = WeightAverage(twin, 0.9)

    restored.load_state_dict(copy.deepcopy(average.state_dict()))

    visit(model, average, [3.0, -1.0])
    visit(twin, restored, [3.0, -1.0])
    assert averaged(twin, restored) == averaged(model, average)


def test_the_average_of_another_model_is_refused():
    with pytest.raises(KeyError):
        WeightAverage(nn.Linear(1, 1), 0.9).load_state_dict(
            WeightAverage(number(), 0.9).state_dict()
        )


def test_it_is_sharded_as_the_weights_are_and_restored_from_whole_tensors(second_of_two_ranks):
    mesh = second_of_two_ranks
    model = nn.Module()
    model.weight = nn.Parameter(
        distribute_tensor(torch.zeros(5), mesh, [Shard(0)], src_data_rank=None)
    )
    average = WeightAverage(model, 0.9)

    average.load_state_dict({"num_updates": 4, "average": {"weight": torch.arange(5.0)}})

    assert average.state_dict()["average"]["weight"].placements == (Shard(0),)
    with average.applied():
        assert model.weight.to_local().tolist() == [3.0, 4.0]
    assert model.weight.to_local().tolist() == [0.0, 0.0]
