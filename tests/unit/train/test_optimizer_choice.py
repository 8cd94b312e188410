"""From an OptimizerSpec to an optimizer: what decays, what is fused, what bf16 weights get."""

import pytest
import torch
from torch import nn

from raymi.specs.optimizer import OptimizerName, OptimizerSpec, Rounding
from raymi.specs.precision import Precision
from raymi.train.optimizer import build_optimizer, can_fuse, set_learning_rate
from raymi.train.rounding import RoundedAdamW, RoundedSGD

CPU = torch.device("cpu")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 2, bias=False))


def build(model: nn.Module, precision: Precision = Precision.FP32, **fields: object):
    return build_optimizer(model, OptimizerSpec(**fields), precision=precision, device=CPU, seed=3)


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16_PURE])
@pytest.mark.parametrize("name", OptimizerName)
def test_only_matrices_decay(precision, name):
    decayed, kept = build(network(), precision, name=name, weight_decay=0.5).param_groups

    assert [p.ndim for p in decayed["params"]] == [2, 2]
    assert [p.ndim for p in kept["params"]] == [1, 1, 1]
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.5, 0.0)


def test_frozen_weights_are_left_out():
    model = network()
    model[0].requires_grad_(requires_grad=False)

    groups = build(model).param_groups

    assert sum(len(group["params"]) for group in groups) == 3


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        (OptimizerName.ADAMW, {"betas": (0.8, 0.95)}),
        (OptimizerName.SGD, {"momentum": 0.8}),
    ],
)
@pytest.mark.parametrize("precision", [Precision.BF16, Precision.BF16_PURE])
def test_the_fields_of_the_spec_arrive(name, fields, precision):
    optimizer = build(network(), precision, name=name, learning_rate=0.2, momentum=0.8, beta2=0.95)

    for group in optimizer.param_groups:
        assert group["lr"] == 0.2
        assert {field: group[field] for field in fields} == fields


@pytest.mark.parametrize("name", OptimizerName)
def test_fp32_weights_get_pytorchs_own_fused_into_one_kernel(name):
    optimizer = build(network(), name=name)

    assert type(optimizer) is {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    assert all(group["fused"] for group in optimizer.param_groups)


def test_a_device_without_fused_kernels_is_found_out_by_trying():
    assert not can_fuse(torch.optim.AdamW, torch.device("meta"), is_sharded=False)


def test_sharded_parameters_have_no_fused_sgd():
    assert can_fuse(torch.optim.AdamW, CPU, is_sharded=True)
    assert not can_fuse(torch.optim.SGD, CPU, is_sharded=True)


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize(
    ("name", "expected"),
    [(OptimizerName.ADAMW, RoundedAdamW), (OptimizerName.SGD, RoundedSGD)],
)
def test_bf16_weights_get_an_optimizer_that_keeps_small_updates(name, expected, rounding):
    model = network().bfloat16()
    optimizer = build(model, Precision.BF16_PURE, name=name, rounding=rounding)
    model(torch.ones(4, 3, dtype=torch.bfloat16)).sum().backward()

    optimizer.step()

    assert type(optimizer) is expected
    state = optimizer.state[model[0].weight]
    assert ("compensation" in state) is (rounding is Rounding.KAHAN)


def test_one_rate_is_set_for_all():
    optimizer = build(network())

    set_learning_rate(optimizer, 0.25)

    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
