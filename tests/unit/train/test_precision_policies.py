"""One file picks every dtype: what each policy does to arithmetic, weights and inputs."""

import copy

import pytest
import torch
from torch import Tensor, nn

from raymi.accelerators.catalog import CPU, find
from raymi.errors import CapabilityError
from raymi.specs.precision import Precision
from raymi.train.precision import (
    build_scaler,
    compute_context,
    matmul_mode,
    prepare_model,
    set_matmul_mode,
)

CPU_DEVICE = torch.device("cpu")
POLICIES = pytest.mark.parametrize("precision", Precision)


class Columns(nn.Module):
    """Takes named columns, as the platform's own networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 16)
        self.first = nn.Linear(24, 32)
        self.norm = nn.BatchNorm1d(32)
        self.inner = nn.Linear(32, 32)
        self.layer_norm = nn.LayerNorm(32)
        self.last = nn.Linear(32, 2)
        self.register_buffer("centre", torch.full((2,), 0.1))

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        joined = torch.cat([inputs["numbers"], self.words(inputs["codes"])], dim=1)
        hidden = self.inner(self.norm(self.first(joined)).relu())
        return self.last(self.layer_norm(hidden)) - self.centre


def columns(num_rows: int = 8) -> dict[str, Tensor]:
    return {"numbers": torch.randn(num_rows, 8), "codes": torch.arange(num_rows) % 5}


def accelerator(precision: Precision):
    return find("AMD-Instinct-MI300X-OAM") if precision is Precision.FP8 else CPU


@POLICIES
def test_every_policy_trains_the_same_network_on_the_same_inputs(precision):
    torch.manual_seed(0)
    model = Columns()
    expected = copy.deepcopy(model)(columns()).shape

    prepared = prepare_model(model, precision, accelerator(precision))
    with compute_context(precision, CPU_DEVICE):
        outputs = prepared(columns())
    outputs.float().sum().backward()

    assert outputs.shape == expected
    assert all(parameter.grad.isfinite().all() for parameter in prepared.parameters())


@pytest.mark.parametrize("precision", [p for p in Precision if p is not Precision.BF16_PURE])
def test_weights_and_their_names_stay_as_they_are(precision):
    before = copy.deepcopy(Columns().state_dict())

    after = prepare_model(Columns(), precision, accelerator(precision)).state_dict()

    assert {name: tensor.dtype for name, tensor in after.items()} == {
        name: tensor.dtype for name, tensor in before.items()
    }


def test_pure_bf16_keeps_statistics_over_batches_and_buffers_in_fp32():
    model = prepare_model(Columns(), Precision.BF16_PURE, CPU)

    wide = {name for name, tensor in model.state_dict().items() if tensor.dtype is torch.float32}

    assert wide == {
        "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "centre"
    }  # fmt: skip


def test_tied_weights_stay_tied():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
    model[1].weight = model[0].weight

    prepare_model(model, Precision.BF16_PURE, CPU)

    assert model[1].weight is model[0].weight
    assert model[1].weight.dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        (Precision.FP32, torch.float32),
        (Precision.TF32, torch.float32),
        (Precision.BF16, torch.bfloat16),
        (Precision.FP16, torch.float16),
        (Precision.FP8, torch.bfloat16),
        (Precision.BF16_PURE, torch.float32),
    ],
)
def test_the_context_of_a_forward_pass_decides_the_products(precision, dtype):
    with compute_context(precision, CPU_DEVICE):
        product = torch.ones(2, 2) @ torch.ones(2, 2)

    assert product.dtype is dtype


@POLICIES
def test_only_tf32_may_shorten_fp32_products_and_convolutions(precision):
    with matmul_mode(Precision.FP32):
        set_matmul_mode(precision)

        is_allowed = precision is Precision.TF32
        assert torch.get_float32_matmul_precision() == ("high" if is_allowed else "highest")
        assert torch.backends.cudnn.allow_tf32 is is_allowed


def test_a_matmul_mode_for_a_while_ends_with_it():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    with matmul_mode(Precision.TF32):
        pass

    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


@POLICIES
def test_only_fp16_scales_its_loss(precision):
    assert build_scaler(precision, CPU_DEVICE).is_enabled() is (precision is Precision.FP16)


def test_fp8_is_refused_where_the_accelerator_has_none():
    with pytest.raises(CapabilityError, match="cannot be used on cpu"):
        prepare_model(Columns(), Precision.FP8, CPU)
