"""A network is built from data alone, and fits whatever the preprocessing gives it."""

import numpy as np
import pytest
import torch

from raymi.data.preprocessing import (
    CategoryFeature,
    ClassTarget,
    NumberFeature,
    NumberTarget,
    Preprocessing,
    TensorFeature,
    TextFeature,
)
from raymi.errors import SpecError
from raymi.models.architecture import Architecture
from raymi.models.catalog import build_model, with_arguments

QUANTILES = tuple(np.linspace(0.0, 1.0, 33).tolist())
NUMBER = NumberFeature(column="age", mean=0.5, std=0.3, quantiles=QUANTILES, nullable=True)
CATEGORY = CategoryFeature(column="city", vocabulary=("a", "b"), nullable=False)
TEXT = TextFeature(column="note", num_buckets=50, max_tokens=6, nullable=False)
DIGIT = ClassTarget(column="label", classes=tuple(range(10)))
PRICE = NumberTarget(column="price", mean=3.0, std=2.0)


def image(*shape: int) -> TensorFeature:
    return TensorFeature(column="image", shape=shape, mean=0.0, std=1.0)


def inputs_for(preprocessing: Preprocessing, num_rows: int) -> dict[str, torch.Tensor]:
    inputs: dict[str, torch.Tensor] = {}
    if preprocessing.numbers:
        inputs["numbers"] = torch.randn(num_rows, 3 * len(preprocessing.numbers))
    if preprocessing.categories:
        inputs["categories"] = torch.ones(num_rows, len(preprocessing.categories), dtype=torch.long)
    for feature in preprocessing.tensors:
        inputs[f"tensor:{feature.column}"] = torch.randn(num_rows, *feature.shape)
    for feature in preprocessing.texts:
        inputs[f"tokens:{feature.column}"] = torch.ones(num_rows, 6, dtype=torch.long)
    return inputs


@pytest.mark.parametrize("target", [DIGIT, PRICE], ids=["classes", "number"])
@pytest.mark.parametrize(
    "features",
    [(NUMBER,), (CATEGORY,), (TEXT,), (image(8, 8),), (NUMBER, CATEGORY, TEXT, image(2, 3))],
    ids=["number", "category", "text", "image", "all"],
)
def test_a_perceptron_reads_any_mix_of_columns(features, target):
    preprocessing = Preprocessing(features=features, target=target)
    model = build_model(Architecture(name="mlp", arguments={"hidden": [8]}), preprocessing)

    outputs = model(inputs_for(preprocessing, 5))

    assert outputs.shape == (5, preprocessing.num_outputs)


@pytest.mark.parametrize("shape", [(64,), (8, 8), (7, 9), (3, 12, 12)])
def test_a_convolutional_network_reads_images_of_any_size(shape):
    preprocessing = Preprocessing(features=(image(*shape),), target=DIGIT)
    model = build_model(Architecture(name="cnn"), preprocessing)

    assert model(inputs_for(preprocessing, 2)).shape == (2, 10)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_row_is_answered_the_same_alone_and_in_company(name):
    preprocessing = Preprocessing(features=(image(8, 8),), target=DIGIT)
    model = build_model(Architecture(name=name), preprocessing).eval()
    inputs = inputs_for(preprocessing, 6)

    together = model(inputs)
    alone = model({key: value[2:3] for key, value in inputs.items()})

    assert torch.allclose(together[2:3], alone, atol=1e-5)


def test_words_that_are_padding_do_not_count():
    preprocessing = Preprocessing(features=(TEXT,), target=DIGIT)
    model = build_model(Architecture(name="mlp"), preprocessing).eval()
    short = torch.tensor([[7, 3, 0, 0, 0, 0]])

    assert torch.equal(model({"tokens:note": short}), model({"tokens:note": short[:, :2]}))


@pytest.mark.parametrize(
    ("architecture", "features"),
    [
        (Architecture(name="transformer"), (NUMBER,)),
        (Architecture(name="mlp", arguments={"layers": 3}), (NUMBER,)),
        (Architecture(name="cnn"), (NUMBER,)),
        (Architecture(name="cnn"), (image(7),)),
        (Architecture(name="math:Net"), (NUMBER,)),
    ],
    ids=["unknown", "wrong argument", "no image", "no square", "no such class"],
)
def test_what_cannot_be_built_is_refused(architecture, features):
    with pytest.raises(SpecError, match="model:"):
        build_model(architecture, Preprocessing(features=features, target=DIGIT))


def test_arguments_of_a_run_replace_those_of_the_problem():
    base = Architecture(name="mlp", arguments={"hidden": [8], "dropout": 0.5})

    assert with_arguments(base, {"dropout": 0.0}).arguments == {"hidden": [8], "dropout": 0.0}
