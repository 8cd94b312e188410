"""Census income: does a person earn over 50,000 dollars a year, from mixed columns with gaps."""

from raymi.models.architecture import Architecture
from raymi.train.problem import Problem

problem = Problem(
    architecture=Architecture(name="mlp", arguments={"hidden": [128, 64], "dropout": 0.2}),
    # A survey weight of the sample, not a fact about the person.
    ignore=("fnlwgt",),
)
