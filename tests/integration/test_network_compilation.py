"""Every network compiles into one graph, in fp32 and under autocast, with the same answers."""

import pytest
import torch

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
from raymi.models.architecture import Architecture
from raymi.models.catalog import build_model

DIGIT = ClassTarget(column="label", classes=tuple(range(10)))
TEXT = Preprocessing(
    features=(BytesFeature(column="line", max_bytes=16),), target=NextByteTarget(column="line")
)
IMAGE = Preprocessing(
    features=(TensorFeature(column="image", shape=(8, 8), mean=0.0, std=1.0),), target=DIGIT
)
MIXED = Preprocessing(
    features=(
        NumberFeature(column="age", mean=0.5, std=0.3, quantiles=(0.0, 0.5, 1.0), nullable=True),
        CategoryFeature(column="city", vocabulary=("a", "b"), nullable=False),
        TextFeature(column="note", num_buckets=50, max_words=6, num_grams=3, nullable=False),
    ),
    target=DIGIT,
)


def inputs():
    return {
        "bytes:line": torch.randint(1, 256, (4, 16)),
        "tensor:image": torch.randn(4, 8, 8),
        "numbers": torch.randn(4, 3),
        "categories": torch.ones(4, 1, dtype=torch.long),
        "tokens:note": torch.randint(1, 50, (4, 6, 3)),
    }


@pytest.mark.parametrize(
    ("name", "preprocessing"),
    [("gpt", TEXT), ("encoder", MIXED), ("mlp", MIXED), ("cnn", IMAGE)],
)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_network_compiles_without_a_break(name, preprocessing, dtype):
    torch.manual_seed(0)
    model = build_model(Architecture(name=name), preprocessing).eval()
    names = {"gpt": ["bytes:line"], "cnn": ["tensor:image"]}.get(
        name, ["numbers", "categories", "tokens:note"]
    )
    rows = {key: value for key, value in inputs().items() if key in names}
    torch.compiler.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)

    with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        expected, found = model(rows), compiled(rows)
    found.float().sum().backward()

    assert torch.allclose(found, expected, atol=1e-5 if dtype is None else 0.05)
    assert all(p.grad is not None for p in model.parameters())
