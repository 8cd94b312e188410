"""What commands say about specs: `--set`, and MODEL|FILE, a model's reference or a spec's file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from raymi.errors import SpecError

if TYPE_CHECKING:
    from raymi.specs.deploy import DeploySpec
    from raymi.specs.tune_serving import TuneServingSpec

Set = Annotated[
    list[str],
    typer.Option("--set", metavar="PATH=VALUE", help="Replace one field of the spec."),
]

_FILES = (".yaml", ".yml", ".json")

ModelSpec = TypeVar("ModelSpec", "DeploySpec", "TuneServingSpec")
"""A spec to which a model's reference is enough."""


def read_target(
    target: str,
    overrides: Sequence[str],
    spec_class: type[ModelSpec],
    *,
    command: str,
    otherwise: str,
) -> ModelSpec:
    """Read a spec, or make one for a model.

    Args:
        target: A file of the spec, or `NAME@ALIAS` or `NAME@VERSION`.
        overrides: `PATH=VALUE` each.
        spec_class: The kind of spec.
        command: Named in errors.
        otherwise: What to do with a file of another kind.

    Raises:
        SpecError: It is neither, or a field is wrong.
    """
    from raymi.specs.loading import load_spec, parse_spec
    from raymi.specs.yaml_text import dump

    kind: str = spec_class.model_fields["kind"].default
    if target.endswith(_FILES):
        spec = load_spec(Path(target), overrides)
    else:
        text = dump({"kind": kind, "model": target})
        spec = parse_spec(text, where=f"raymi {command} {target}", overrides=overrides)
    if not isinstance(spec, spec_class):
        raise SpecError(
            f"{target}: not a {kind} spec", why=f"it says `kind: {spec.kind}`", fix=otherwise
        )
    return spec
