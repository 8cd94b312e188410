"""A new problem's folder, written so that it runs as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from raymi.errors import ConflictError, SpecError

_PROBLEM = '''"""{title}: what is peculiar to this problem."""

from raymi.models.architecture import Architecture
from raymi.train.problem import Problem

problem = Problem(
    # `mlp` reads any mix of columns; `cnn` reads one image column.
    architecture=Architecture(name="mlp", arguments={{"hidden": [128, 64], "dropout": 0.1}}),
    # task="regression",     # default: told from the target column
    # ignore=("row_id",),    # columns that must not be learned from
    # categories=("zip",),   # numbers that are names
    # texts=("message",),    # strings that are sentences
)
'''

_RUN = """name: {name}
problem: jobs.{name}.problem
data: {dataset}
precision: fp32
batch: {{global_batch_size: 128, micro_batch_size: 64}}
resources: {{num_workers: 2}}
optimizer: {{learning_rate: 3e-3}}
epochs: 15
seed: 0
"""

_SPACE = """space:
  precision: [fp32, bf16]
  batch.micro_batch_size: [16, 64]
objective: samples_per_s
constraints: {max_quality_loss: 0.01}
"""


def write_problem(name: str, *, dataset: str, jobs: Path) -> Iterator[Path]:
    """Write the three files of a problem and yield their paths.

    Raises:
        SpecError: The name cannot be a Python package.
        ConflictError: The folder exists; nothing was written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise SpecError(
            f"init {name}: not a usable name",
            why="the folder is imported by Python as jobs.NAME",
            fix="use lower-case letters, digits and _, starting with a letter",
        )
    folder = jobs / name
    if folder.exists():
        raise ConflictError(
            f"init {name}: {folder} exists",
            why="init never overwrites",
            fix="choose another name, or edit the files there",
        )
    run = _RUN.format(name=name, dataset=dataset)
    indented = "".join(f"  {line}\n" for line in run.splitlines())
    files = {
        "problem.py": _PROBLEM.format(title=name.replace("_", " ").capitalize()),
        "train.yaml": f"kind: train\n{run}",
        "sweep.yaml": f"kind: sweep\ntrain:\n{indented}{_SPACE}",
    }
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
        yield folder / file
