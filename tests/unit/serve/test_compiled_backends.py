"""A compiler that fails says so when the backend is opened, not in the first request."""

import pytest
import torch
from torch import nn

from raymi.accelerators.catalog import CPU
from raymi.data.preprocessing import ClassTarget, NumberFeature, Preprocessing
from raymi.errors import CapabilityError
from raymi.serve.backends.ahead_of_time import open_ahead_of_time
from raymi.serve.backends.compiled import open_compiled
from raymi.specs.backend import ServingPrecision

DEVICE = torch.device("cpu")
TABLE = Preprocessing(
    features=(NumberFeature(column="x", mean=0.0, std=1.0, quantiles=(0.0,), nullable=False),),
    target=ClassTarget(column="y", classes=("a", "b")),
)


class Small(nn.Module):
    """Somebody's network; its layers have the sizes of no other in these tests."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 37), nn.Tanh(), nn.Linear(37, 2))

    def forward(self, inputs):
        return self.layers(inputs["numbers"]).softmax(dim=1)


@pytest.fixture
def broken_compiler():
    """There is a compiler and it fails; nothing that was compiled before is found again."""
    torch.compiler.reset()
    with torch._inductor.config.patch({"cpp.cxx": ("false",), "force_disable_caches": True}):
        yield


def in_process(model):
    return open_compiled(model, TABLE, ServingPrecision.FP32, device=DEVICE, accelerator=CPU)


def ahead_of_time(model):
    return open_ahead_of_time(model, TABLE, device=DEVICE)


@pytest.mark.parametrize("open_backend", [in_process, ahead_of_time])
def test_a_compiler_that_fails_is_a_clear_error(broken_compiler, open_backend):
    with pytest.raises(CapabilityError, match="cannot be compiled") as refused:
        open_backend(Small())

    assert "eager" in refused.value.fix
    assert refused.value.why
    assert "\n" not in refused.value.why
