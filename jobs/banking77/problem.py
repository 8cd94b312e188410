"""Banking77: which of 77 things a customer wants, from one question; nothing is pretrained."""

from raymi.models.architecture import Architecture
from raymi.train.problem import Problem

problem = Problem(
    architecture=Architecture(
        name="encoder",
        arguments={
            "num_layers": 2,
            "num_heads": 4,
            "width": 128,
            "dropout": 0.3,
            # 130 questions per intent are few: seen twice, one has lost other words.
            "word_dropout": 0.2,
            # One question in twenty has more words; its first ones say what it is about.
            "max_words": 32,
        },
    ),
    texts=("text",),
)
