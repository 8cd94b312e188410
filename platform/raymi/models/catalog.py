"""From an architecture's name and arguments to a network.

A network is described as data so that a bundle can rebuild it without unpickling anything.
A name with a colon (`jobs.mine.problem:Net`) is somebody's own class; its source file
travels with the bundle.

Repeated layers are in an attribute `blocks: nn.ModuleList`: where training spreads a network
over workers (FSDP2) or recomputes activations, it does so block by block, and a network
without that attribute is one block. Networks must not use BatchNorm: the result would depend
on how a global batch is cut into micro-batches.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

from pydantic import JsonValue
from torch import nn

from raymi.data.preprocessing import Preprocessing
from raymi.errors import SpecError
from raymi.models.architecture import Architecture
from raymi.models.cnn import build_cnn
from raymi.models.encoder import build_encoder
from raymi.models.gpt import build_gpt
from raymi.models.mlp import build_mlp

Builder = Callable[..., nn.Module]
"""Called as `builder(preprocessing, **arguments)`."""

CATALOG: dict[str, Builder] = {
    "mlp": build_mlp,
    "cnn": build_cnn,
    "encoder": build_encoder,
    "gpt": build_gpt,
}


def build_model(
    architecture: Architecture,
    preprocessing: Preprocessing,
    *,
    module: ModuleType | None = None,
) -> nn.Module:
    """Build an untrained network that reads what `preprocessing.prepare` gives.

    Args:
        architecture: What to build.
        preprocessing: Decides the widths of the first and last layers.
        module: Where somebody's own class is, if it was loaded from a bundle.

    Raises:
        SpecError: There is no such architecture, or it does not take these arguments.
    """
    builder = _find(architecture.name, module)
    try:
        return builder(preprocessing, **architecture.arguments)
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"model: {architecture.name} cannot be built from {architecture.arguments}",
            why=str(error),
            fix="change `model:` in the spec, or the arguments in problem.py",
        ) from error


def with_arguments(architecture: Architecture, changes: dict[str, JsonValue]) -> Architecture:
    """The same architecture with some arguments replaced."""
    return Architecture(name=architecture.name, arguments={**architecture.arguments, **changes})


def _find(name: str, module: ModuleType | None) -> Builder:
    if ":" in name:
        module_name, _, attribute = name.partition(":")
        found = getattr(module or importlib.import_module(module_name), attribute, None)
    else:
        found = CATALOG.get(name)
    if found is None:
        raise SpecError(
            f"model: no architecture {name!r}",
            why=f"the catalog has {', '.join(sorted(CATALOG))}",
            fix="use one of these, or `module:Class` for your own",
        )
    builder: Builder = found
    return builder
