"""What a network reads in training is bit for bit what it reads when serving."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from raymi.data.preprocessing import (
    BytesFeature,
    CategoryFeature,
    ClassTarget,
    NumberFeature,
    Preprocessing,
    TensorFeature,
    TextFeature,
)
from raymi.data.tensors import tensor_array
from raymi.train.encoded_rows import TARGETS, encode_rows
from raymi.train.inputs import DeviceInputs

NUM_ROWS = 50
CPU = torch.device("cpu")


def preprocessing() -> Preprocessing:
    quantiles = tuple(np.linspace(-2.0, 2.0, 33).tolist())
    return Preprocessing(
        features=(
            NumberFeature(column="n", mean=0.3, std=1.7, quantiles=quantiles, nullable=True),
            CategoryFeature(column="c", vocabulary=("red", "blue"), nullable=True),
            TensorFeature(column="uint8", shape=(2, 3), mean=77.7, std=33.3),
            TensorFeature(column="float", shape=(4,), mean=0.1, std=0.7),
            TensorFeature(column="double", shape=(4,), mean=1 / 3, std=1e-3),
            TensorFeature(column="int32", shape=(2,), mean=-5.0, std=3.0),
            TextFeature(column="t", num_buckets=97, max_words=3, num_grams=2, nullable=True),
            BytesFeature(column="b", max_bytes=9),
        ),
        target=ClassTarget(column="y", classes=("p", "q")),
    )


def table() -> pa.Table:
    draw = np.random.default_rng(0)
    return pa.table(
        {
            "n": [None if i % 7 == 0 else float(i) - 20 for i in range(NUM_ROWS)],
            "c": [["red", "blue", "green", None][i % 4] for i in range(NUM_ROWS)],
            "uint8": tensor_array(draw.integers(0, 256, (NUM_ROWS, 2, 3), dtype=np.uint8)),
            "float": tensor_array(draw.normal(size=(NUM_ROWS, 4)).astype(np.float32)),
            "double": tensor_array(draw.normal(size=(NUM_ROWS, 4))),
            "int32": tensor_array(draw.integers(-(2**31), 2**31, (NUM_ROWS, 2), dtype=np.int32)),
            "t": [f"some words {i}" for i in range(NUM_ROWS)],
            "b": [f"bytes {i} é" for i in range(NUM_ROWS)],
            "y": ["p" if i % 2 else "q" for i in range(NUM_ROWS)],
        }
    )


def compact(rows: pa.Table) -> dict[str, torch.Tensor]:
    arrays = encode_rows(preprocessing(), rows)
    del arrays[TARGETS]
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def test_every_kind_of_input_equals_the_one_prepared_by_numpy():
    rows = table()
    expected = preprocessing().prepare(preprocessing().encode(rows))

    inputs = DeviceInputs(preprocessing(), CPU)(compact(rows))

    assert inputs.keys() == expected.keys()
    for name, values in expected.items():
        assert inputs[name].numpy().dtype == values.dtype, name
        assert inputs[name].numpy().tobytes() == values.tobytes(), name


@pytest.mark.parametrize("name", compact(table()).keys())
def test_inputs_outlive_the_rows_they_were_made_from(name):
    arrays = compact(table())
    inputs = DeviceInputs(preprocessing(), CPU)(arrays)
    before = inputs[name].clone()

    arrays[name].zero_()

    assert torch.equal(inputs[name], before)
