"""Tiny Shakespeare: which character comes next, in nanoGPT's setting for a laptop."""

from raymi.models.architecture import Architecture
from raymi.train.problem import Problem

problem = Problem(
    architecture=Architecture(
        name="gpt", arguments={"num_layers": 4, "num_heads": 4, "width": 128, "dropout": 0.0}
    ),
    task="next_byte",
    context=65,
)
