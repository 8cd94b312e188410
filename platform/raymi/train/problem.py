"""What is peculiar to one problem: which columns, which network, which target.

A `jobs/<problem>/problem.py` defines one module-level `problem = Problem(...)`; everything
else about a run is in its spec.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, field
from pathlib import Path

from raymi.data.fitting import DEFAULT_CONTEXT, Task
from raymi.errors import SpecError
from raymi.models.architecture import Architecture


@dataclass(frozen=True, slots=True)
class Problem:
    """Everything about a problem that is not a setting of a run.

    Usage::

        problem = Problem(architecture=Architecture(name="mlp"))   # every column but the target
        problem = Problem(
            architecture=Architecture(name="mlp", arguments={"hidden": [256]}),
            task="regression",              # default: told from the target's type
            ignore=("row_id",),             # columns that must not be learned from
            categories=("zip_code",),       # numbers that are names
            texts=("message",),             # strings that are sentences, not names
        )
        problem = Problem(
            architecture=Architecture(name="gpt"),
            task="next_byte",               # learn to continue a column of text
            context=256,                    # bytes of a row that the network reads
        )
    """

    architecture: Architecture = field(default_factory=lambda: Architecture(name="mlp"))
    task: Task = "auto"
    ignore: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    context: int = DEFAULT_CONTEXT


def load_problem(module_name: str) -> Problem:
    """Import a problem from the working directory or the installed packages.

    Raises:
        SpecError: There is no such module, or it defines no `problem`.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise SpecError(
            f"problem: cannot import {module_name!r}",
            why=str(error),
            fix=f"run from the directory that holds {module_name.replace('.', '/')}.py",
        ) from error
    problem = getattr(module, "problem", None)
    if not isinstance(problem, Problem):
        raise SpecError(
            f"problem: {module_name} defines no `problem`",
            why=f"found {type(problem).__name__} where a raymi Problem is needed",
            fix="add `problem = Problem(...)` at module level",
        )
    return problem
