"""Commands about specs: check one, explain a field, start a new problem, print the stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from raymi.cli.output import Json, print_json, print_line, print_table
from raymi.cli.targets import Set
from raymi.errors import CapabilityError, SpecError


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(rich_help_panel="Specs")(check)
    app.command(rich_help_panel="Specs")(explain)
    app.command(rich_help_panel="Specs")(init)
    app.command(rich_help_panel="Specs")(stages)


def check(
    file: Annotated[Path, typer.Argument(help="A spec (YAML).")],
    overrides: Set = [],  # noqa: B006 - typer copies it
    *,
    resolved: Annotated[bool, typer.Option(help="Print the spec with every default.")] = False,
    as_json: Json = False,
) -> None:
    """Say whether a spec could be submitted, without a cluster."""
    from raymi.specs.loading import load_spec, resolved_yaml

    spec = load_spec(file, overrides)
    notes = _capability_notes(spec)
    if as_json:
        print_json(
            {
                "kind": spec.kind,
                "fingerprint": spec.fingerprint(),
                "notes": notes,
                "spec": spec.to_document(),
            }
        )
        return
    if resolved:
        print_line(resolved_yaml(spec).rstrip())
        return
    print_line(f"{file}: a valid {spec.kind} spec, fingerprint {spec.fingerprint()[:12]}")
    for note in notes:
        print_line(f"  note: {note}")


def explain(
    path: Annotated[
        str, typer.Argument(help="A kind or a path, such as `train.batch.micro_batch_size`.")
    ],
    *,
    as_json: Json = False,
) -> None:
    """Say what a field means, what it may be and what it is by default."""
    from raymi.specs.job import KINDS
    from raymi.specs.paths import (
        NoSuchFieldError,
        closest,
        field_paths,
        nested_model,
        require_field,
    )

    kind, _, inner = path.partition(".")
    if kind not in KINDS:
        raise SpecError(
            f"explain {path}: unknown kind {kind!r}",
            why="a path starts with the kind of spec",
            fix=closest(kind, list(KINDS)),
        )
    model: Any = KINDS[kind]
    info = None
    if inner:
        try:
            info = require_field(model, inner)
        except NoSuchFieldError as error:
            raise SpecError(
                f"explain {path}: not a field", why=str(error), fix=f"`raymi explain {kind}`"
            ) from error
        model = nested_model(info.annotation) if info else None
    rows = [(path, info)] if info else []
    if model is not None:
        rows += [(f"{path}.{name}", field) for name, field in field_paths(model)]
    facts = [_describe(name, field) for name, field in rows if not name.endswith(".kind")]
    if as_json:
        print_json(facts)
        return
    if inner and len(facts) == 1:
        for key in ("field", "type", "default", "meaning"):
            print_line(f"{key:>8}: {facts[0][key]}")
        return
    print_table(
        ("field", "type", "default", "meaning"),
        [(f["field"], f["type"], f["default"], f["meaning"]) for f in facts],
    )


def init(
    name: Annotated[str, typer.Argument(help="The new problem; becomes jobs/NAME.")],
    *,
    data: Annotated[str, typer.Option(help="An imported dataset.")],
    root: Annotated[Path, typer.Option(help="Where `jobs/` is.")] = Path(),
) -> None:
    """Write jobs/NAME/{problem.py,train.yaml,sweep.yaml} for an imported dataset."""
    from raymi.cli.scaffold import write_problem

    for path in write_problem(name, dataset=data, jobs=root / "jobs"):
        print_line(f"wrote {escape(str(path))}")
    print_line(f"next: raymi check jobs/{name}/train.yaml")


def stages(*, as_json: Json = False) -> None:
    """Print the platform on one page: each stage, its question, what it takes and gives."""
    from raymi.lifecycle import STAGES

    if as_json:
        print_json([{"name": s.name, "question": s.question, "takes": s.takes, "gives": s.gives}
                    for s in STAGES])  # fmt: skip
        return
    print_table(
        ("stage", "question", "takes", "gives"),
        [(s.name, s.question, ", ".join(s.takes), s.gives) for s in STAGES],
    )


def _capability_notes(spec: Any) -> list[str]:
    """Refuse what the named accelerator cannot do; say what `auto` means on this machine.

    Raises:
        CapabilityError: The one run of a train spec, or every trial of a sweep, is impossible.
    """
    from raymi.accelerators.catalog import require_precision
    from raymi.accelerators.detect import resolve

    if spec.kind not in ("train", "sweep"):
        return []
    train = spec if spec.kind == "train" else spec.train
    wanted = train.resources.accelerator
    accelerator = resolve(wanted)
    runs = [spec] if spec.kind == "train" else list(spec.trials())
    refusals: list[CapabilityError] = []
    for run in runs:
        try:
            require_precision(accelerator, run.precision)
        except CapabilityError as error:
            refusals.append(error)
    if len(refusals) == len(runs):
        raise refusals[0]
    notes = [f"{len(runs)} trials"] if spec.kind == "sweep" else []
    if wanted == "auto":
        notes.append(f"accelerator auto is {accelerator.name} on this machine")
    return notes + sorted({f"{error.what}: {error.why}" for error in refusals})


def _describe(path: str, info: Any) -> dict[str, str]:
    default = "required" if info.is_required() else _default_text(info)
    meaning = " ".join((info.description or "").split())
    limits = ", ".join(
        f"{name} {value}" for constraint in info.metadata for name, value in _limits(constraint)
    )
    return {
        "field": path,
        "type": _type_text(info.annotation) + (f" ({limits})" if limits else ""),
        "default": default,
        "meaning": meaning,
    }


_LIMIT_WORDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "min_length": "at least",
                "max_length": "at most"}  # fmt: skip


def _limits(constraint: Any) -> list[tuple[str, Any]]:
    found = [
        (word, getattr(constraint, name))
        for name, word in _LIMIT_WORDS.items()
        if getattr(constraint, name, None) is not None
    ]
    pattern = getattr(constraint, "pattern", None)
    return found + ([("matches", pattern)] if pattern else [])


def _default_text(info: Any) -> str:
    from raymi.specs.base import Spec

    default = info.default
    if isinstance(default, Spec):
        return "see below"
    if default is None:
        return "unset"
    return str(getattr(default, "value", default)) or "''"


def _type_text(annotation: Any) -> str:
    import types
    import typing
    from enum import Enum

    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " | ".join(str(member.value) for member in annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type_text(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_type_text(a) for a in arguments if a is not type(None))
    if origin is tuple:
        return f"list of {_type_text(arguments[0])}"
    if origin is dict:
        return "mapping"
    return getattr(annotation, "__name__", str(annotation))
