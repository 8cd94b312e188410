"""fp8 for serving: wide inner layers only, each row scaled by itself; here without the hardware.

torchao refuses processors without fp8; told that there is a MI300, it computes the same numbers
through torch's emulation.
"""

import numpy as np
import pytest
import torch
from torchao.float8 import inference

from raymi.accelerators.catalog import CPU, find
from raymi.data.preprocessing import ClassTarget, NumberFeature, Preprocessing
from raymi.errors import CapabilityError
from raymi.models.architecture import Architecture
from raymi.models.catalog import build_model
from raymi.serve.backends.eager import open_eager
from raymi.specs.backend import ServingPrecision

DEVICE = torch.device("cpu")
H100 = find("H100")
TABLE = Preprocessing(
    features=tuple(
        NumberFeature(column=f"x{i}", mean=0.0, std=1.0, quantiles=(0.0, 1.0), nullable=False)
        for i in range(4)
    ),
    target=ClassTarget(column="y", classes=("a", "b")),
)


def network(hidden):
    torch.manual_seed(0)
    return build_model(Architecture(name="mlp", arguments={"hidden": hidden}), TABLE)


@pytest.fixture
def emulated(monkeypatch):
    monkeypatch.setattr(inference, "is_MI300", lambda: True)


def rows(num_rows):
    draw = np.random.default_rng(1)
    return {"numbers": draw.normal(0, 1, (num_rows, 12)).astype(np.float32)}


@pytest.mark.filterwarnings("ignore")
def test_answers_are_near_those_of_fp32_and_not_the_same(emulated):
    fp8 = open_eager(network([32, 32]), ServingPrecision.FP8, device=DEVICE, accelerator=H100)
    bf16 = open_eager(
        network([32, 32]), ServingPrecision.BF16_PURE, device=DEVICE, accelerator=H100
    )

    found, expected = fp8.run(rows(7)), bf16.run(rows(7))

    assert 0 < np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.filterwarnings("ignore")
def test_a_row_is_answered_alike_in_any_company(emulated):
    fp8 = open_eager(network([32, 32]), ServingPrecision.FP8, device=DEVICE, accelerator=H100)
    together = {"numbers": np.concatenate([rows(3)["numbers"], 50 * rows(4)["numbers"]])}

    np.testing.assert_allclose(fp8.run(together)[:3], fp8.run(rows(3)), rtol=1e-2)


def test_a_network_without_wide_layers_is_refused():
    with pytest.raises(CapabilityError, match="would change nothing"):
        open_eager(network([8]), ServingPrecision.FP8, device=DEVICE, accelerator=H100)


def test_a_device_without_fp8_is_refused():
    with pytest.raises(CapabilityError, match="fp8 cannot be used on cpu"):
        open_eager(network([32, 32]), ServingPrecision.FP8, device=DEVICE, accelerator=CPU)
