"""A compiler that fails says so when the backend is opened, not in the first request."""

import pytest
import torch
from torch import nn

from raymi.accelerators.catalog import CPU
from raymi.data.preprocessing import ClassTarget, NumberFeature, Preprocessing
from raymi.errors import CapabilityError
from raymi.serve.backends.ahead_of_time import compile_ahead_of_time
from raymi.serve.backends.capture import blank_inputs
from raymi.serve.backends.compiled import open_compiled
from raymi.specs.backend import ServingPrecision

DEVICE = torch.device("cpu")
TABLE = Preprocessing(
    features=(NumberFeature(column="x", mean=0.0, std=1.0, quantiles=(0.0,), nullable=False),),
    target=ClassTarget(column="y", classes=("a", "b")),
)


class Small(nn.Module):
    """Somebody's network; its layers have the sizes of no other in these tests."""

    def __init__(self, width=37):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2))

    def forward(self, inputs):
        return self.layers(inputs["numbers"]).softmax(dim=1)


@pytest.fixture
def broken_compiler():
    """There is a compiler and it fails; nothing that was compiled before is found again."""
    torch.compiler.reset()
    with torch._inductor.config.patch({"cpp.cxx": ("false",), "force_disable_caches": True}):
        yield


def in_process(model, path=None):
    return open_compiled(model, TABLE, ServingPrecision.FP32, device=DEVICE, accelerator=CPU)


def ahead_of_time(model, path):
    compile_ahead_of_time(model, TABLE, device=DEVICE, path=path)


@pytest.mark.parametrize("compile_network", [in_process, ahead_of_time])
def test_a_compiler_that_fails_is_a_clear_error(broken_compiler, tmp_path, compile_network):
    with pytest.raises(CapabilityError, match="cannot be compiled") as refused:
        compile_network(Small(), tmp_path / "network.pt2")

    assert "eager" in refused.value.fix
    assert refused.value.why
    assert "\n" not in refused.value.why


class Watched(Small):
    """Counts the calls in which Python itself runs its code."""

    def __init__(self, width):
        super().__init__(width)
        self.num_uncompiled = 0

    def forward(self, inputs):
        if not torch.compiler.is_compiling():
            self.num_uncompiled += 1
        return super().forward(inputs)


def test_every_one_of_many_versions_in_a_process_runs_compiled():
    """More than the compiler keeps of one function before it gives up without a word."""
    models = [Watched(width) for width in (41, 42, 43)]

    with torch._dynamo.config.patch(recompile_limit=len(models) - 1):
        for backend in [in_process(model) for model in models]:
            backend.run(blank_inputs(TABLE, 5))

    assert [model.num_uncompiled for model in models] == [0] * len(models)


class Interrupted(Small):
    """Somebody's network that only Python can run as a whole."""

    def forward(self, inputs):
        torch._dynamo.graph_break()
        return super().forward(inputs)


def test_a_network_that_would_run_partly_uncompiled_is_refused():
    with pytest.raises(CapabilityError, match="cannot be compiled"):
        in_process(Interrupted())
