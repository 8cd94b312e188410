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
TEXT = TextFeature(column="note", num_buckets=50, max_words=6, num_grams=3, nullable=False)
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
        inputs[f"tokens:{feature.column}"] = torch.randint(1, 50, (num_rows, 6, 3))
    return inputs


@pytest.mark.parametrize("target", [DIGIT, PRICE], ids=["classes", "number"])
@pytest.mark.parametrize(
    "features",
    [(NUMBER,), (CATEGORY,), (TEXT,), (image(8, 8),), (NUMBER, CATEGORY, TEXT, image(2, 3))],
    ids=["number", "category", "text", "image", "all"],
)
@pytest.mark.parametrize("name", ["mlp", "encoder"])
def test_a_network_reads_any_mix_of_columns(name, features, target):
    preprocessing = Preprocessing(features=features, target=target)
    model = build_model(Architecture(name=name), preprocessing)

    outputs = model(inputs_for(preprocessing, 5))

    assert outputs.shape == (5, preprocessing.num_outputs)


@pytest.mark.parametrize("shape", [(64,), (8, 8), (7, 9), (3, 12, 12)])
def test_a_convolutional_network_reads_images_of_any_size(shape):
    preprocessing = Preprocessing(features=(image(*shape),), target=DIGIT)
    model = build_model(Architecture(name="cnn"), preprocessing)

    assert model(inputs_for(preprocessing, 2)).shape == (2, 10)


@pytest.mark.parametrize("name", ["mlp", "cnn", "encoder"])
def test_a_row_is_answered_the_same_alone_and_in_company(name):
    preprocessing = Preprocessing(features=(image(8, 8),), target=DIGIT)
    model = build_model(Architecture(name=name), preprocessing).eval()
    inputs = inputs_for(preprocessing, 6)

    together = model(inputs)
    alone = model({key: value[2:3] for key, value in inputs.items()})

    assert torch.allclose(together[2:3], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("mlp", {}), ("encoder", {}), ("encoder", {"pooling": "cls"})],
    ids=["mlp", "encoder, mean", "encoder, cls"],
)
def test_words_that_are_padding_do_not_count(name, arguments):
    preprocessing = Preprocessing(features=(TEXT,), target=DIGIT)
    model = build_model(Architecture(name=name, arguments=arguments), preprocessing).eval()
    short = torch.zeros(1, 6, 3, dtype=torch.long)
    short[0, :2] = torch.tensor([[7, 3, 0], [9, 4, 5]])

    cut = model({"tokens:note": short[:, :2]})

    assert torch.allclose(model({"tokens:note": short}), cut, atol=1e-6)


@pytest.mark.parametrize("name", ["mlp", "encoder"])
def test_a_text_without_words_has_a_finite_answer(name):
    preprocessing = Preprocessing(features=(TEXT,), target=DIGIT)
    model = build_model(Architecture(name=name), preprocessing)
    nothing = torch.zeros(2, 6, 3, dtype=torch.long)

    outputs = model({"tokens:note": nothing})
    outputs.sum().backward()

    assert outputs.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_an_encoder_knows_the_order_of_words():
    preprocessing = Preprocessing(features=(TEXT,), target=DIGIT)
    model = build_model(Architecture(name="encoder"), preprocessing).eval()
    words = inputs_for(preprocessing, 3)["tokens:note"]

    assert not torch.allclose(model({"tokens:note": words}), model({"tokens:note": words.flip(1)}))


def test_an_encoder_reads_no_more_words_than_asked():
    preprocessing = Preprocessing(features=(TEXT,), target=DIGIT)
    model = build_model(Architecture(name="encoder", arguments={"max_words": 4}), preprocessing)
    model.eval()
    words = inputs_for(preprocessing, 3)["tokens:note"]
    changed = words.clone()
    changed[:, 4:] = 1

    assert torch.equal(model({"tokens:note": words}), model({"tokens:note": changed}))


@pytest.mark.parametrize(
    ("name", "features", "num_blocks"),
    [("mlp", (NUMBER,), 2), ("cnn", (image(8, 8),), 2), ("encoder", (TEXT,), 2)],
)
def test_repeated_layers_are_where_the_engine_looks_for_them(name, features, num_blocks):
    model = build_model(Architecture(name=name), Preprocessing(features=features, target=DIGIT))

    assert isinstance(model.blocks, torch.nn.ModuleList)
    assert len(model.blocks) == num_blocks


@pytest.mark.parametrize(
    ("architecture", "features"),
    [
        (Architecture(name="transformer"), (NUMBER,)),
        (Architecture(name="mlp", arguments={"layers": 3}), (NUMBER,)),
        (Architecture(name="cnn"), (NUMBER,)),
        (Architecture(name="cnn"), (image(7),)),
        (Architecture(name="math:Net"), (NUMBER,)),
        (Architecture(name="encoder", arguments={"width": 30}), (NUMBER,)),
        (Architecture(name="encoder", arguments={"pooling": "max"}), (NUMBER,)),
        (Architecture(name="encoder", arguments={"max_words": 0}), (TEXT,)),
        (Architecture(name="gpt"), (TEXT,)),
    ],
    ids=[
        "unknown",
        "wrong argument",
        "no image",
        "no square",
        "no such class",
        "width and heads",
        "pooling",
        "no words",
        "no bytes",
    ],
)
def test_what_cannot_be_built_is_refused(architecture, features):
    with pytest.raises(SpecError, match="model:"):
        build_model(architecture, Preprocessing(features=features, target=DIGIT))


def test_arguments_of_a_run_replace_those_of_the_problem():
    base = Architecture(name="mlp", arguments={"hidden": [8], "dropout": 0.5})

    assert with_arguments(base, {"dropout": 0.0}).arguments == {"hidden": [8], "dropout": 0.0}


def test_words_are_overlooked_in_training_only():
    preprocessing = Preprocessing(features=(TEXT,), target=DIGIT)
    arguments = {"word_dropout": 0.5, "dropout": 0.0}
    model = build_model(Architecture(name="encoder", arguments=arguments), preprocessing)
    words = inputs_for(preprocessing, 8)

    assert not torch.equal(model(words), model(words))
    model.eval()
    assert torch.equal(model(words), model(words))
