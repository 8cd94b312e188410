"""Whoever runs a network and however it computes: the answers are those of eager fp32."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from raymi.accelerators.catalog import CPU, find
from raymi.data.preprocessing import (
    BytesFeature,
    CategoryFeature,
    ClassTarget,
    NextByteTarget,
    NumberFeature,
    Preprocessing,
    TensorFeature,
    TextFeature,
)
from raymi.errors import CapabilityError
from raymi.evaluate.network import EagerNetwork
from raymi.evaluate.predictor import Predictor
from raymi.models.architecture import Architecture
from raymi.models.catalog import build_model
from raymi.serve.backends import build_elsewhere
from raymi.serve.backends.build import build_here
from raymi.serve.backends.catalog import Facts, available, open_backend, probe
from raymi.specs.backend import BackendName, ServingPrecision
from raymi.specs.precision import Precision

DEVICE = torch.device("cpu")
HERE = [(a.backend, a.precision) for a in available(probe(CPU)) if a.reason is None]
COMPILED = (BackendName.COMPILE, BackendName.AOT)

LARGEST_ERROR = {
    ServingPrecision.FP32: 1e-5,
    ServingPrecision.FP16: 1e-2,
    ServingPrecision.BF16: 5e-2,
    ServingPrecision.BF16_PURE: 8e-2,
    ServingPrecision.INT8: 8e-2,
}
"""Of any output, as a share of the largest output of the batch."""

NUMBERS = tuple(
    NumberFeature(column=name, mean=5.0, std=2.0, quantiles=(0.0, 5.0, 9.0), nullable=True)
    for name in ("size", "left eye")
)
CATEGORIES = (
    CategoryFeature(column="colour", vocabulary=("blue", "red"), nullable=True),
    CategoryFeature(column="kind", vocabulary=tuple("abcdef"), nullable=False),
)
IMAGE = TensorFeature(column="pixels: grey", shape=(8, 8), mean=100.0, std=50.0)
NOTE = TextFeature(column="note", num_buckets=64, max_words=6, num_grams=4, nullable=True)
LINE = BytesFeature(column="line", max_bytes=12)
CLASSES = ClassTarget(column="shape", classes=("round", "square", "flat"))

NETWORKS = {
    "mlp": (
        Preprocessing(features=(*NUMBERS, *CATEGORIES), target=CLASSES),
        {"hidden": [32, 32]},
    ),
    "cnn": (
        Preprocessing(features=(IMAGE,), target=CLASSES),
        {"channels": [4, 8], "hidden": 32},
    ),
    "encoder": (
        Preprocessing(features=(NOTE, *NUMBERS), target=CLASSES),
        {"width": 32, "num_layers": 1, "num_heads": 2},
    ),
    "gpt": (
        Preprocessing(features=(LINE,), target=NextByteTarget(column="line")),
        {"width": 32, "num_layers": 1, "num_heads": 2},
    ),
}

CASES = [
    pytest.param(
        backend,
        precision,
        network,
        id=f"{backend}-{precision}-{network}",
        # Each compiles for seconds; `make drills` runs them.
        marks=[pytest.mark.drill] if backend in COMPILED and network != "mlp" else [],
    )
    for backend, precision in HERE
    for network in NETWORKS
    # A compilation takes seconds: in other precisions than fp32 one network stands for all.
    if backend not in COMPILED or precision == "fp32" or network == "mlp"
]


@dataclass
class Trained:
    """As much of a bundle as a backend needs."""

    preprocessing: Preprocessing
    weights: torch.nn.Module
    architecture: Architecture
    fingerprint: str

    def model(self) -> torch.nn.Module:
        model = build_model(self.architecture, self.preprocessing)
        model.load_state_dict(self.weights.state_dict())
        return model


def trained(name: str) -> Trained:
    """A network whose weights are as large as training makes them."""
    preprocessing, arguments = NETWORKS[name]
    architecture = Architecture(name=name, arguments=arguments)
    torch.manual_seed(3)
    weights = build_model(architecture, preprocessing)
    with torch.no_grad():
        for parameter in weights.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return Trained(preprocessing, weights, architecture, f"{name}-of-this-test")


def rows(preprocessing: Preprocessing, num_rows: int) -> dict[str, np.ndarray]:
    """Encoded rows with missing numbers, unknown categories and empty texts among them."""
    draw = np.random.default_rng(num_rows)
    arrays: dict[str, np.ndarray] = {}
    if preprocessing.numbers:
        numbers = draw.normal(5.0, 3.0, (num_rows, len(preprocessing.numbers)))
        numbers[::3, 0] = np.nan
        arrays["numbers"] = numbers
    if preprocessing.categories:
        sizes = [len(f.vocabulary) + 1 for f in preprocessing.categories]
        columns = [draw.integers(0, size, num_rows, dtype=np.int32) for size in sizes]
        arrays["categories"] = np.stack(columns, axis=1)
    for tensor in preprocessing.tensors:
        shape = (num_rows, *tensor.shape)
        arrays[f"tensor:{tensor.column}"] = draw.integers(0, 256, shape, dtype=np.uint8)
    for text in preprocessing.texts:
        shape = (num_rows, text.max_words, text.num_grams)
        tokens = draw.integers(1, text.num_buckets, shape, dtype=np.int32)
        for row, length in enumerate(draw.integers(0, text.max_words + 1, num_rows)):
            tokens[row, length:] = 0
        arrays[f"tokens:{text.column}"] = tokens
    for raw in preprocessing.bytes_features:
        octets = draw.integers(1, 256, (num_rows, raw.max_bytes), dtype=np.uint8)
        for row, length in enumerate(draw.integers(0, raw.max_bytes + 1, num_rows)):
            octets[row, length:] = 0
        arrays[f"bytes:{raw.column}"] = octets
    return arrays


@pytest.fixture(scope="module", autouse=True)
def _build_in_this_process():
    """No bundle is on a disk here, and a process for each would take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_elsewhere, "build_elsewhere", build_here)
        yield


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("converted")


@pytest.fixture(scope="session")
def opened(cache_dir):
    """Backends that are open already: some take seconds to compile."""
    backends = {}

    def open_one(network: str, backend: BackendName, precision: ServingPrecision):
        key = network, backend, precision
        if key not in backends:
            bundle = trained(network)
            backends[key] = (
                bundle,
                open_backend(
                    bundle,
                    backend,
                    precision,
                    num_threads=1,
                    device=DEVICE,
                    cache_dir=cache_dir,
                ),
            )
        return backends[key]

    return open_one


def eager_fp32(bundle: Trained, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The bare module, called by nobody but this function."""
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    with torch.no_grad():
        return bundle.model().eval()(tensors).numpy()


@pytest.mark.parametrize("num_rows", [1, 2, 7, 64])
@pytest.mark.parametrize(("backend", "precision", "network"), CASES)
def test_outputs_are_those_of_eager_fp32(opened, backend, precision, network, num_rows):
    bundle, opened_backend = opened(network, backend, precision)
    inputs = bundle.preprocessing.prepare(rows(bundle.preprocessing, num_rows))

    outputs = opened_backend.run(inputs)

    expected = eager_fp32(bundle, inputs)
    assert outputs.dtype == np.float32
    assert outputs.shape == expected.shape
    difference = np.abs(outputs - expected).max() / np.abs(expected).max()
    assert difference <= LARGEST_ERROR[precision]


@pytest.mark.parametrize(("backend", "precision", "network"), CASES)
def test_the_same_inputs_give_the_same_bits(opened, backend, precision, network):
    bundle, opened_backend = opened(network, backend, precision)
    inputs = bundle.preprocessing.prepare(rows(bundle.preprocessing, 7))
    before = {name: array.copy() for name, array in inputs.items()}

    first, second = opened_backend.run(inputs), opened_backend.run(inputs)

    assert first.tobytes() == second.tobytes()
    assert all((inputs[name] == array).all() for name, array in before.items())


@pytest.mark.parametrize(("backend", "precision", "network"), CASES)
def test_a_predictor_predicts_with_it(opened, backend, precision, network):
    bundle, opened_backend = opened(network, backend, precision)
    arrays = rows(bundle.preprocessing, 7)
    eager = EagerNetwork(bundle.model(), precision=Precision.FP32, device=DEVICE)
    expected = Predictor(eager, bundle.preprocessing).predict(arrays)

    predictions = Predictor(opened_backend, bundle.preprocessing).predict(arrays)

    difference = np.abs(predictions.probabilities - expected.probabilities).max()
    assert difference <= LARGEST_ERROR[precision]


@pytest.mark.parametrize(("backend", "precision"), HERE)
def test_another_thread_than_the_one_that_opened_it_gets_the_same(opened, backend, precision):
    bundle, opened_backend = opened("mlp", backend, precision)
    inputs = bundle.preprocessing.prepare(rows(bundle.preprocessing, 7))

    with ThreadPoolExecutor(1) as thread:
        elsewhere = thread.submit(opened_backend.run, inputs).result()

    # Not to the bit: compiled code may add in another order where memory lies differently.
    difference = np.abs(elsewhere - opened_backend.run(inputs)).max()
    assert difference <= LARGEST_ERROR[precision]


def num_compiled():
    """Graphs that PyTorch's compiler has made in this process so far."""
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.mark.parametrize(
    ("backend", "precision", "network"),
    [case for case in CASES if case.values[0] is BackendName.COMPILE],
)
def test_a_batch_of_no_size_is_compiled_after_it_is_open(cache_dir, backend, precision, network):
    bundle = trained(network)
    # Anew: here networks are converted in this process, which makes the compiler forget.
    opened_backend = open_backend(
        bundle, backend, precision, num_threads=1, device=DEVICE, cache_dir=cache_dir
    )
    before = num_compiled()

    with ThreadPoolExecutor(1) as another:
        for num_rows in range(1, 80):
            inputs = bundle.preprocessing.prepare(rows(bundle.preprocessing, num_rows))
            opened_backend.run(inputs)
            another.submit(opened_backend.run, inputs).result()

    assert before > 0
    assert num_compiled() == before


@pytest.mark.parametrize(("backend", "precision"), HERE)
def test_it_says_what_it_is(opened, backend, precision):
    _, opened_backend = opened("mlp", backend, precision)

    assert (opened_backend.name, opened_backend.precision) == (backend, precision)
    assert opened_backend.device == DEVICE


def test_the_tested_ones_are_those_a_cpu_with_every_package_can_run():
    everything = Facts(CPU, frozenset({"onnx", "onnxscript", "onnxruntime"}), has_compiler=True)

    able = {f"{a.backend} {a.precision}" for a in available(everything) if a.reason is None}

    assert able == {
        *(f"{b} {p}" for b in ("eager", "compile") for p in ("fp32", "bf16", "fp16", "bf16_pure")),
        "aot fp32",
        "onnx fp32",
        "onnx int8",
    }


NOTHING = Facts(CPU, frozenset(), has_compiler=False)
H100 = Facts(find("H100"), frozenset({"torchao", "triton"}), has_compiler=True)
BARE_H100 = Facts(find("H100"), frozenset(), has_compiler=True)
V100 = Facts(find("V100"), frozenset(), has_compiler=True)


@pytest.mark.parametrize(
    ("facts", "backend", "precision", "reason"),
    [
        (NOTHING, "eager", "fp32", None),
        (NOTHING, "eager", "fp8", "CPUs have no fp8 matrix instructions"),
        (NOTHING, "eager", "int8", "the backend eager computes in fp32 and bf16 and fp16 and "),
        (NOTHING, "compile", "fp32", "there is no C++ compiler"),
        (NOTHING, "aot", "bf16", "the backend aot computes in fp32 only"),
        (NOTHING, "onnx", "fp32", "onnx and onnxscript and onnxruntime cannot be imported"),
        (H100, "onnx", "int8", "ONNX Runtime runs on CPUs here, and the device is H100"),
        (H100, "eager", "fp8", None),
        (H100, "compile", "bf16", None),
        (BARE_H100, "eager", "fp8", "torchao cannot be imported"),
        (BARE_H100, "compile", "fp32", "triton cannot be imported"),
        (V100, "eager", "bf16", "sm_70 has no bf16"),
    ],
)
def test_what_does_not_run_has_a_reason(facts, backend, precision, reason):
    (found,) = (a for a in available(facts) if (a.backend, a.precision) == (backend, precision))

    assert found.reason == reason if reason is None else reason in found.reason


@pytest.mark.parametrize(("backend", "precision"), [("eager", "fp8"), ("onnx", "bf16")])
def test_asking_for_what_does_not_run_names_what_does(cache_dir, backend, precision):
    with pytest.raises(CapabilityError, match=rf"{backend} with {precision}") as refused:
        open_backend(
            trained("mlp"),
            BackendName(backend),
            ServingPrecision(precision),
            num_threads=1,
            device=DEVICE,
            cache_dir=cache_dir,
        )

    assert "eager fp32" in refused.value.fix
