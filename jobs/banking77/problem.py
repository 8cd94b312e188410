"""Banking77: which of 77 things a customer wants, from one question; nothing is pretrained."""

from raymi.models.architecture import Architecture
from raymi.train.problem import Problem

problem = Problem(
    architecture=Architecture(
        name="encoder",
        # One question in fifty has more than 40 words.
        arguments={"width": 96, "num_layers": 2, "dropout": 0.3, "max_words": 40},
    ),
    texts=("text",),
)
