"""fp8 as the hardware's two formats have it: casts that cannot overflow, networks that learn."""

import copy
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from raymi.accelerators.catalog import Accelerator, Float8Format, find
from raymi.errors import CapabilityError
from raymi.train.float8 import (
    E4M3,
    E5M2,
    as_fnuz,
    convert_to_float8,
    convertible_layers,
    dequantize,
    quantize,
)

MI300X = find("AMD-Instinct-MI300X-OAM")
H100 = find("H100")
ACCELERATORS = pytest.mark.parametrize("accelerator", [MI300X, H100], ids=["fnuz", "ocp"])
TYPES = pytest.mark.parametrize("dtype", [*E4M3.values(), *E5M2.values()], ids=str)

LARGEST = {
    torch.float8_e4m3fn: 448.0,
    torch.float8_e4m3fnuz: 240.0,
    torch.float8_e5m2: 57344.0,
    torch.float8_e5m2fnuz: 57344.0,
}
FRACTION_BITS = {
    torch.float8_e4m3fn: 3,
    torch.float8_e4m3fnuz: 3,
    torch.float8_e5m2: 2,
    torch.float8_e5m2fnuz: 2,
}


# What torch's casts do, on which `quantize` rests.


@TYPES
def test_the_range_is_the_published_one(dtype):
    assert torch.finfo(dtype).max == LARGEST[dtype]


@pytest.mark.parametrize("value", [249.0, 1e9, float("inf")])
def test_a_cast_to_fnuz_above_240_is_not_a_number(value):
    assert torch.tensor(value).to(torch.float8_e4m3fnuz).float().isnan()


@pytest.mark.parametrize("value", [480.0, 1e9, float("inf")])
def test_a_cast_to_ocp_e4m3_stays_at_448(value):
    assert torch.tensor(value).to(torch.float8_e4m3fn).float() == 448.0


def test_a_cast_above_e5m2_is_infinite_or_not_a_number():
    assert torch.tensor(1e9).to(torch.float8_e5m2).float().isinf()
    assert torch.tensor(1e9).to(torch.float8_e5m2fnuz).float().isnan()


# Quantisation.


@TYPES
def test_values_beyond_an_older_scale_saturate(dtype):
    stored, scale = quantize(torch.tensor([-1e9, 1e9]), dtype, scale=torch.tensor(1.0))

    assert dequantize(stored, scale).tolist() == [-LARGEST[dtype], LARGEST[dtype]]


@TYPES
@given(values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=20))
def test_the_error_is_at_most_half_a_last_bit(dtype, values):
    exact = torch.tensor(values)

    stored, scale = quantize(exact, dtype)

    error = (dequantize(stored, scale) - exact).abs()
    half_a_bit = 2.0 ** -(FRACTION_BITS[dtype] + 1)
    # Below the smallest normal number bits are a fixed distance apart. fp32's own rounding, twice.
    bound = torch.maximum(exact.abs(), torch.finfo(dtype).smallest_normal * scale) * half_a_bit
    assert (error <= bound * (1 + 1e-5) + 1e-38).all()


@TYPES
def test_the_largest_value_uses_the_whole_range(dtype):
    stored, _ = quantize(torch.tensor([0.003, -0.017, 0.01]), dtype)

    assert stored.float().abs().max() == LARGEST[dtype]


@TYPES
def test_zeros_and_nothing_come_back(dtype):
    for values in (torch.zeros(4), torch.zeros(0)):
        assert torch.equal(dequantize(*quantize(values, dtype)), values)


@TYPES
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_hidden_by_the_clamp(dtype, broken):
    stored, scale = quantize(torch.tensor([1.0, broken]), dtype)

    assert not dequantize(stored, scale).isfinite().all()


# The same bytes in the other format.


def every_byte() -> Tensor:
    return torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn)


def test_the_same_bits_mean_half_as_much_in_fnuz():
    stored = every_byte()

    misread = stored.view(torch.float8_e4m3fnuz).float()

    both = misread.isfinite() & stored.float().isfinite()
    assert torch.equal(2.0 * misread[both], stored.float()[both])


def test_minus_zero_is_the_trap():
    assert torch.tensor(-0.0).to(torch.float8_e4m3fn).view(torch.float8_e4m3fnuz).float().isnan()


def test_every_byte_keeps_its_value_when_read_as_fnuz():
    stored, scale = as_fnuz(every_byte(), torch.tensor(3.0))

    assert stored.dtype is torch.float8_e4m3fnuz
    torch.testing.assert_close(
        dequantize(stored, scale), 3.0 * every_byte().float(), rtol=0, atol=0, equal_nan=True
    )


def test_only_ocp_e4m3_can_be_read_as_fnuz():
    with pytest.raises(ValueError, match="only float8_e4m3fn"):
        as_fnuz(torch.zeros(1).to(torch.float8_e5m2), torch.tensor(1.0))


# Networks.


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(16, 64),
        nn.GELU(),
        nn.LayerNorm(64),
        nn.Linear(64, 64),
        nn.GELU(),
        nn.Linear(64, 4),
    )


def examples(num_rows: int = 100) -> tuple[Tensor, Tensor]:
    """Classes by the quarter that two hidden directions point to."""
    inputs = torch.randn(num_rows, 16, generator=torch.Generator().manual_seed(1))
    return inputs, (inputs[:, 0] > 0).long() + 2 * (inputs[:, 1] > inputs[:, 2]).long()


def train(model: nn.Module, num_steps: int = 20) -> list[float]:
    inputs, targets = examples()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
    losses = []
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def layer_types(model: nn.Sequential) -> list[str]:
    return [type(model[index]).__name__ for index in (0, 3, 5)]


@ACCELERATORS
def test_only_the_inner_layers_are_converted(accelerator):
    model = convert_to_float8(network(), accelerator, emulate=True)

    assert layer_types(model) == ["Linear", "Float8Linear", "Linear"]
    assert model[3].config.cast_config_weight.target_dtype is E4M3[accelerator.float8]
    assert model[3].config.cast_config_grad_output.target_dtype is E5M2[accelerator.float8]


def test_weights_keep_their_names_and_values():
    before = network().state_dict()

    after = convert_to_float8(network(), H100, emulate=True).state_dict()

    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@ACCELERATORS
def test_one_converted_layer_computes_the_product_of_quantised_tensors(accelerator):
    """Against `quantize`, which knows nothing of torchao."""
    model = network()
    inputs = torch.randn(10, 64)
    weight, bias = model[3].weight.detach().clone(), model[3].bias.detach().clone()
    e4m3 = E4M3[accelerator.float8]
    convert_to_float8(model, accelerator, emulate=True)

    outputs = model[3](inputs)

    rounded = [dequantize(*quantize(tensor, e4m3)) for tensor in (inputs, weight)]
    torch.testing.assert_close(outputs, functional.linear(*rounded, bias), rtol=1e-4, atol=1e-5)


@ACCELERATORS
def test_gradients_are_those_of_fp32_within_a_few_per_cent(accelerator):
    inputs, targets = examples()
    exact, rounded = network(), convert_to_float8(network(), accelerator, emulate=True)

    for model in (exact, rounded):
        functional.cross_entropy(model(inputs), targets).backward()

    for parameter, twin in zip(rounded.parameters(), exact.parameters(), strict=True):
        error = (parameter.grad - twin.grad).norm() / twin.grad.norm()
        # Half a last bit is 1/16 of a value in e4m3 and 1/8 in e5m2, before products even out.
        assert error < 0.10
        assert 0.95 < parameter.grad.norm() / twin.grad.norm() < 1.05


@ACCELERATORS
def test_training_reaches_the_loss_of_fp32(accelerator):
    exact = train(network())
    rounded = train(convert_to_float8(network(), accelerator, emulate=True))

    assert exact[-1] < 0.5 * exact[0]
    assert rounded[-1] == pytest.approx(exact[-1], rel=0.05)


def test_any_number_of_rows_can_be_multiplied():
    model = convert_to_float8(network(), MI300X, emulate=True)

    model(torch.randn(3, 16)).sum().backward()

    assert model[3].weight.grad.isfinite().all()


def test_a_converted_network_can_be_copied():
    model = convert_to_float8(network(), H100, emulate=True)
    inputs, _ = examples()

    assert torch.equal(copy.deepcopy(model)(inputs), model(inputs))


def test_sizes_that_the_instructions_do_not_take_are_left_alone():
    model = nn.Sequential(nn.Linear(16, 40), nn.Linear(40, 64), nn.Linear(64, 32), nn.Linear(32, 4))

    assert convertible_layers(model) == {"2"}


@pytest.mark.parametrize(
    ("model", "accelerator", "message"),
    [
        (network(), find("A100"), "cannot be used on A100"),
        (nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16)), H100, "would change nothing"),
    ],
)
def test_what_cannot_be_done_is_refused(model: nn.Module, accelerator: Accelerator, message: str):
    with pytest.raises(CapabilityError, match=message):
        convert_to_float8(model, accelerator, emulate=True)


def test_without_torchao_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.float8", None)

    with pytest.raises(CapabilityError, match=r"raymi\[gpu\]"):
        convert_to_float8(network(), H100, emulate=True)


def test_loading_torchao_prints_nothing(capfd):
    convert_to_float8(network(), H100, emulate=True)

    assert capfd.readouterr() == ("", "")


def test_the_formats_are_those_of_the_catalog():
    assert (MI300X.float8, H100.float8) == (Float8Format.FNUZ, Float8Format.OCP)
