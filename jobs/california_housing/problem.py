"""California housing: the median value of a district's houses, from where and how people live."""

from raymi.models.architecture import Architecture
from raymi.train.problem import Problem

problem = Problem(
    architecture=Architecture(name="mlp", arguments={"hidden": [256, 256, 128], "dropout": 0.05}),
    task="regression",
)
