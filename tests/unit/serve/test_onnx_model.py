"""A network becomes one ONNX file, once, for any number of rows and under names tools accept."""

import hashlib
import re
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx
import pytest
import torch

from raymi.data.preprocessing import (
    CategoryFeature,
    ClassTarget,
    NumberFeature,
    Preprocessing,
    TensorFeature,
    TextFeature,
)
from raymi.errors import CapabilityError
from raymi.models.architecture import Architecture
from raymi.models.catalog import build_model
from raymi.serve.backends import onnx_conversion
from raymi.serve.backends import onnx_model as onnx_model_module
from raymi.serve.backends.build import build_here
from raymi.serve.backends.capture import GatheredBag, blank_inputs
from raymi.serve.backends.onnx_names import name_safely
from raymi.serve.backends.onnx_runtime import OnnxBackend
from raymi.specs.backend import ServingPrecision

FP32, INT8 = ServingPrecision.FP32, ServingPrecision.INT8

EVERYTHING = Preprocessing(
    features=(
        NumberFeature(column="age", mean=5.0, std=2.0, quantiles=(0.0, 9.0), nullable=True),
        CategoryFeature(column="city", vocabulary=("a", "b"), nullable=True),
        TensorFeature(column="left-eye", shape=(2, 2), mean=0.0, std=1.0),
        TensorFeature(column="left eye", shape=(2, 2), mean=0.0, std=1.0),
        TextFeature(column="größe", num_buckets=16, max_words=3, num_grams=2, nullable=True),
    ),
    target=ClassTarget(column="y", classes=(0, 1, 2)),
)


onnx_model = partial(onnx_model_module.onnx_model, build=build_here)


@dataclass
class Fake:
    """As much of a bundle as a conversion needs; counts how often it builds its network."""

    network: torch.nn.Module | None = None
    fingerprint: str = "f" * 8
    preprocessing: Preprocessing = EVERYTHING
    num_built: int = 0

    def model(self):
        self.num_built += 1
        torch.manual_seed(0)
        architecture = Architecture(name="mlp", arguments={"hidden": [8]})
        return self.network or build_model(architecture, self.preprocessing)


def test_a_network_is_converted_once(tmp_path):
    bundle = Fake()

    first = onnx_model(bundle, FP32, cache_dir=tmp_path / "made")
    second = onnx_model(bundle, FP32, cache_dir=tmp_path / "made")

    assert first == second
    assert bundle.num_built == 1
    (kept,) = (tmp_path / "made").iterdir()
    assert kept.read_bytes() == first


@pytest.mark.parametrize("where", [0, 100, -1])
def test_a_file_with_one_byte_changed_is_made_again(tmp_path, where):
    bundle = Fake()
    sound = onnx_model(bundle, FP32, cache_dir=tmp_path)
    (kept,) = tmp_path.iterdir()
    damaged = bytearray(sound)
    damaged[where] ^= 1
    kept.write_bytes(damaged)

    again = onnx_model(bundle, FP32, cache_dir=tmp_path)

    assert again != bytes(damaged)
    assert bundle.num_built == 2
    (kept,) = tmp_path.iterdir()
    assert kept.read_bytes() == again
    assert kept.stem.endswith(hashlib.sha256(again).hexdigest())


def test_a_file_that_was_cut_short_is_made_again(tmp_path):
    bundle = Fake()
    onnx_model(bundle, FP32, cache_dir=tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(b"")

    assert onnx_model(bundle, FP32, cache_dir=tmp_path)
    assert bundle.num_built == 2


def test_other_weights_or_another_precision_are_another_file(tmp_path):
    onnx_model(Fake(), FP32, cache_dir=tmp_path)
    onnx_model(Fake(), INT8, cache_dir=tmp_path)
    onnx_model(Fake(fingerprint="e" * 8), FP32, cache_dir=tmp_path)

    assert len(list(tmp_path.iterdir())) == 3


def test_another_runtime_is_another_file(tmp_path, monkeypatch):
    onnx_model(Fake(), FP32, cache_dir=tmp_path)
    monkeypatch.setattr(onnx_model_module, "version", lambda name: "99.0")

    onnx_model(Fake(), FP32, cache_dir=tmp_path)

    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("precision", [FP32, INT8])
def test_the_file_is_valid_and_its_names_are_plain(tmp_path, precision):
    document = onnx.load_from_string(onnx_model(Fake(), precision, cache_dir=tmp_path))

    onnx.checker.check_model(document, full_check=True)
    names = [value.name for value in document.graph.input]
    assert names == [
        "numbers", "categories", "tensor_left_eye", "tensor_left_eye_2", "tokens_gr_e",
    ]  # fmt: skip
    for value in (*document.graph.input, *document.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "rows"


def test_no_operation_goes_over_rows_one_by_one(tmp_path):
    document = onnx.load_from_string(onnx_model(Fake(), FP32, cache_dir=tmp_path))

    assert not {node.op_type for node in document.graph.node} & {"Loop", "Scan", "If"}


def test_int8_holds_the_weights_of_linear_layers_as_bytes(tmp_path):
    document = onnx.load_from_string(onnx_model(Fake(), INT8, cache_dir=tmp_path))

    kinds = {t.name: t.data_type for t in document.graph.initializer}
    multiplied = [n.input[1] for n in document.graph.node if n.op_type == "MatMulInteger"]
    assert len(multiplied) == 2
    assert {kinds[name] for name in multiplied} == {onnx.TensorProto.INT8}


@pytest.mark.parametrize("num_threads", [1, 2])
def test_the_backend_reads_each_input_under_its_own_name(tmp_path, num_threads):
    model_file = onnx_model(Fake(), FP32, cache_dir=tmp_path)
    inputs = blank_inputs(EVERYTHING, 2)
    inputs["tensor:left eye"] += 1.0
    model = Fake().model().eval()

    outputs = OnnxBackend(model_file, FP32, num_threads=num_threads).run(
        dict(reversed(list(inputs.items())))
    )

    with torch.no_grad():
        expected = model({name: torch.from_numpy(array) for name, array in inputs.items()})
    np.testing.assert_allclose(outputs, expected.numpy(), atol=1e-6)


class Undecided(torch.nn.Module):
    """Somebody's own network that looks at values to choose its way."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)

    def forward(self, inputs):
        numbers = inputs["numbers"]
        return self.linear(numbers if numbers.sum() > 0 else -numbers)


class OfThreeRows(Undecided):
    """One that only knows how to answer three rows."""

    def forward(self, inputs):
        return self.linear(inputs["numbers"]) + torch.ones(3, 1)


@pytest.mark.parametrize("network", [Undecided, OfThreeRows])
def test_a_network_that_is_no_graph_is_refused_and_leaves_nothing(tmp_path, network):
    with pytest.raises(CapabilityError, match="cannot be turned into a graph"):
        onnx_model(Fake(network()), FP32, cache_dir=tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_network_too_large_for_one_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_conversion, "_LARGEST_BYTES", 100)

    with pytest.raises(CapabilityError, match="GB"):
        onnx_model(Fake(), FP32, cache_dir=tmp_path)


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("padding", [0, None])
def test_a_gathered_bag_is_the_bag(mode, padding):
    torch.manual_seed(0)
    bag = torch.nn.EmbeddingBag(16, 4, mode=mode, padding_idx=padding)
    indices = torch.randint(0, 16, (5, 6))
    indices[0] = 0
    indices[1, 3:] = 0

    torch.testing.assert_close(GatheredBag(bag)(indices), bag(indices))


def test_safe_names_are_distinct_whatever_the_columns_are_called():
    columns = ["tensor:a b", "tensor:a-b", "tensor:a_b", "tensor:a_b_2", "tokens:é", "tokens:ü"]

    safe = name_safely(columns)

    assert list(safe.values()) == columns
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in safe)
