"""Handwritten digits: which of ten digits an 8 x 8 image shows."""

from raymi.models.architecture import Architecture
from raymi.train.problem import Problem

problem = Problem(
    architecture=Architecture(name="cnn", arguments={"channels": [16, 32], "hidden": 64}),
)
