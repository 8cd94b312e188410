"""Optimizers over bf16 weights keep updates that bf16 alone would lose, and repeat themselves."""

import copy

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributed.tensor import Shard, distribute_tensor

from raymi.specs.optimizer import Rounding
from raymi.train import buckets
from raymi.train.random_rounding import random_bits, round_stochastically
from raymi.train.rounding import RoundedAdamW, RoundedSGD

ROUNDINGS = pytest.mark.parametrize("rounding", Rounding)


def weights(*shape: int, value: float = 1.0, dtype: torch.dtype = torch.bfloat16) -> nn.Parameter:
    return nn.Parameter(torch.full(shape, value, dtype=dtype))


def sgd(parameter: nn.Parameter, rounding: Rounding, *, rate: float) -> RoundedSGD:
    return RoundedSGD([parameter], lr=rate, momentum=0.0, rounding=rounding, seed=0)


def descend(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, num_steps: int) -> None:
    """Steps with a gradient of 1 everywhere."""
    for _ in range(num_steps):
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()


def adamw(
    parameters: list[nn.Parameter], rounding: Rounding = Rounding.KAHAN, *, seed: int = 0
) -> RoundedAdamW:
    groups = [{"params": parameters, "weight_decay": 0.1}]
    return RoundedAdamW(groups, lr=0.01, betas=(0.9, 0.999), rounding=rounding, seed=seed)


def gradients(parameters: list[nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)


# Updates below the last bit.


def test_plain_bf16_loses_an_update_below_its_last_bit_for_ever():
    parameter = weights(4)

    descend(torch.optim.SGD([parameter], lr=2.0**-10), parameter, 512)

    assert parameter.tolist() == [1.0] * 4


@ROUNDINGS
def test_both_remedies_arrive_where_the_updates_lead(rounding):
    parameter = weights(4096)

    descend(sgd(parameter, rounding, rate=2.0**-10), parameter, 512)

    # 512 updates of 2^-10 lead to 0.5. A random walk of 512 steps of at most half a last bit
    # (2^-9) each has a standard deviation below 0.05; the mean over 4096 weights, below 0.0007.
    assert parameter.float().mean().item() == pytest.approx(0.5, abs=0.002)


def test_kahan_is_exact_as_long_as_the_pair_holds_the_sum():
    parameter = weights(3)

    descend(sgd(parameter, Rounding.KAHAN, rate=2.0**-12), parameter, 1024)

    assert parameter.tolist() == [0.75] * 3


@given(st.floats(-(2.0**127), 2.0**127, width=32), st.integers(0, 1000))
def test_stochastic_rounding_picks_one_of_the_two_neighbours(value, step):
    values = torch.full((64,), value, dtype=torch.float32)
    bits, _ = random_bits(torch.arange(64, dtype=torch.int32), seed=1, step=step, stream=0)

    rounded = round_stochastically(values, bits).float()

    toward_zero = (values.view(torch.int32) & -65536).view(torch.float32)
    away = ((values.view(torch.int32) & -65536) + 65536).view(torch.float32)
    assert ((rounded == toward_zero) | (rounded == away)).all()
    if toward_zero[0] == value:
        assert (rounded == value).all()


@pytest.mark.parametrize("fraction", [0.01, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_mean_of_stochastic_rounding_is_the_number(fraction, sign):
    size = 1 << 16
    value = sign * (1.0 + fraction * 2.0**-7)
    bits, more_bits = random_bits(torch.arange(size, dtype=torch.int32), seed=0, step=3, stream=1)

    for draw in (bits, more_bits):
        up = (round_stochastically(torch.full((size,), value), draw).float() != sign).double()
        # Five standard errors of a coin with this probability: 1 in 2 million by chance.
        bound = 5.0 * (fraction * (1.0 - fraction) / size) ** 0.5
        assert up.mean().item() == pytest.approx(fraction, abs=bound)


@pytest.mark.parametrize("bits", [0x7F800000, -0x800000, 0x7FC00000, 0x7FFFFFFF, -1])
def test_what_is_not_finite_stays_what_it_is(bits):
    value = torch.tensor([bits], dtype=torch.int32).view(torch.float32)

    rounded = round_stochastically(value, torch.tensor([0xFFFF], dtype=torch.int32)).float()

    assert torch.equal(rounded.isnan(), value.isnan())
    assert rounded.isnan() or rounded.item() == value.item()


def test_the_running_square_of_adamw_does_not_stand_still():
    """With beta2 = 0.999 each step takes 0.1% of it away, less than half a last bit of bf16."""
    parameter = weights(4096)
    optimizer = adamw([parameter])
    descend(optimizer, parameter, 1)
    for _ in range(500):
        parameter.grad = torch.zeros_like(parameter)
        optimizer.step()

    mean_square = optimizer.state[parameter]["exp_avg_sq"].float().mean().item()

    assert mean_square == pytest.approx(0.001 * 0.999**500, rel=0.01)


# Agreement with PyTorch in fp32.


@ROUNDINGS
def test_adamw_follows_pytorchs_in_fp32(rounding):
    torch.manual_seed(0)
    start = torch.randn(3, 64, 32).bfloat16()
    rounded = [nn.Parameter(layer.clone()) for layer in start]
    exact = [nn.Parameter(layer.float()) for layer in start]
    optimizer = adamw(rounded, rounding)
    reference = torch.optim.AdamW(exact, lr=0.01, weight_decay=0.1)

    for step in range(50):
        gradients(rounded, step)
        for parameter, twin in zip(rounded, exact, strict=True):
            twin.grad = parameter.grad.float()
        optimizer.step()
        reference.step()

    error = torch.stack(rounded).float() - torch.stack(exact)
    travelled = (torch.stack(exact) - start.float()).abs().mean().item()
    # Kahan: half a last bit of the weight, and a few per cent of the way from noisy means.
    assert error.abs().mean().item() < {"kahan": 0.02, "stochastic": 0.20}[rounding] * travelled
    assert (
        abs(error.mean().item()) < 0.002 * travelled + 5 * error.std().item() / error.numel() ** 0.5
    )


@ROUNDINGS
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_follows_pytorchs_in_fp32(rounding, momentum):
    torch.manual_seed(0)
    start = torch.randn(64, 64).bfloat16()
    rounded, exact = nn.Parameter(start.clone()), nn.Parameter(start.float())
    groups = [{"params": [rounded], "weight_decay": 0.1}]
    optimizer = RoundedSGD(groups, lr=0.01, momentum=momentum, rounding=rounding, seed=0)
    reference = torch.optim.SGD([exact], lr=0.01, momentum=momentum, weight_decay=0.1)

    for step in range(50):
        gradients([rounded], step)
        exact.grad = rounded.grad.float()
        optimizer.step()
        reference.step()

    error = (rounded.float() - exact).abs().mean().item()
    travelled = (exact - start.float()).abs().mean().item()
    assert error < {"kahan": 0.02, "stochastic": 0.20}[rounding] * travelled


def test_fp32_parameters_among_them_are_updated_as_pytorch_does():
    parameter, twin = (weights(5, 3, value=0.5, dtype=torch.float32) for _ in range(2))
    optimizer, reference = adamw([parameter]), torch.optim.AdamW([twin], lr=0.01, weight_decay=0.1)

    for step in range(10):
        gradients([parameter], step)
        gradients([twin], step)
        optimizer.step()
        reference.step()

    torch.testing.assert_close(parameter, twin, rtol=1e-6, atol=1e-7)
    assert "compensation" not in optimizer.state[parameter]


# The same run, however it is cut.


def test_the_random_bits_are_the_published_hash():
    """An oracle in unsigned arithmetic, which torch does not have."""
    counters = np.arange(1000, dtype=np.uint32) * np.uint32(4_000_037)

    low, high = random_bits(torch.from_numpy(counters.astype(np.int32)), seed=5, step=7, stream=1)

    expected = lowbias32_keyed(counters, split_mix(split_mix(split_mix(5) + 7) + 1))
    assert np.array_equal(low.numpy() | (high.numpy() << 16), expected.astype(np.int32))


def split_mix(value: int) -> int:
    with np.errstate(over="ignore"):
        z = np.uint64(value % 2**64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return int(z ^ (z >> np.uint64(31)))


def lowbias32_keyed(counters: np.ndarray, key: int) -> np.ndarray:
    x = counters ^ np.uint32(key % 2**32)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) ^ np.uint32(key >> 32)
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def train(parameters: list[nn.Parameter], optimizer: RoundedAdamW, steps: range) -> list[Tensor]:
    for step in steps:
        gradients(parameters, step)
        optimizer.step()
    return [parameter.detach().clone() for parameter in parameters]


@ROUNDINGS
def test_a_resumed_optimizer_goes_on_bit_for_bit(rounding):
    parameters = [weights(7, 5), weights(5)]
    optimizer = adamw(parameters, rounding)
    train(parameters, optimizer, range(3))
    resumed = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    other = adamw(resumed, rounding)

    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))

    undisturbed = train(parameters, optimizer, range(3, 8))
    assert all(map(torch.equal, undisturbed, train(resumed, other, range(3, 8))))


def test_the_seed_decides_the_rounding():
    ends = []
    for seed in (0, 0, 1):
        parameters = [weights(64, 5)]
        ends += train(parameters, adamw(parameters, Rounding.STOCHASTIC, seed=seed), range(5))

    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


@ROUNDINGS
def test_a_parameter_is_updated_alike_whatever_its_size_and_layout(rounding, monkeypatch):
    parameters = [weights(9, 4, 3), weights(1), weights(20, 2)]
    expected = train(parameters, adamw(parameters, rounding), range(4))
    cut = [weights(9, 4, 3), weights(1), nn.Parameter(weights(2, 20).detach().t())]
    monkeypatch.setitem(buckets._BUCKET_ELEMENTS, "cpu", 24)

    assert all(map(torch.equal, expected, train(cut, adamw(cut, rounding), range(4))))


@ROUNDINGS
def test_a_shard_is_rounded_as_the_whole_would_be(rounding, second_of_two_ranks):
    whole = [weights(5, 4), weights(7)]
    expected = train(whole, adamw(whole, rounding), range(3))
    shards = [shard(weights(5, 4), second_of_two_ranks), shard(weights(7), second_of_two_ranks)]
    optimizer = adamw(shards, rounding)

    for step in range(3):
        gradients(whole, step)
        for parameter, twin in zip(shards, whole, strict=True):
            parameter.grad = shard(twin.grad, second_of_two_ranks).detach()
        optimizer.step()

    assert torch.equal(shards[0].to_local(), expected[0][3:])
    assert torch.equal(shards[1].to_local(), expected[1][4:])
    assert optimizer.state[shards[0]]["exp_avg"].placements == (Shard(0),)


def shard(tensor: Tensor, mesh: dist.DeviceMesh) -> nn.Parameter:
    return nn.Parameter(distribute_tensor(tensor.detach(), mesh, [Shard(0)], src_data_rank=None))
