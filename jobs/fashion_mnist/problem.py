"""Fashion-MNIST: which of ten kinds of clothing a 28 x 28 image shows."""

from raymi.models.architecture import Architecture
from raymi.train.problem import Problem

problem = Problem(
    architecture=Architecture(name="cnn", arguments={"channels": [16, 32], "hidden": 48}),
)
