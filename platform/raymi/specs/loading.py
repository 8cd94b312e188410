"""From a YAML file and `--set` values to a spec, or three lines that say why not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, ValidationError

from raymi.errors import SpecError
from raymi.specs.base import Spec
from raymi.specs.job import KINDS, JobSpec
from raymi.specs.paths import NoSuchFieldError, assign, closest, nested_model, require_field
from raymi.specs.yaml_text import dump, parse


def load_spec(path: Path, overrides: Iterable[str] = ()) -> JobSpec:
    """Read a spec file and apply `path=value` overrides.

    Raises:
        SpecError: The file is missing, is not YAML, or is not a valid spec.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"{path}: cannot be read",
            why=str(error),
            fix="pass a YAML file, such as jobs/digits/train.yaml",
        ) from error
    return parse_spec(text, where=str(path), overrides=overrides)


def parse_spec(text: str, *, where: str, overrides: Iterable[str] = ()) -> JobSpec:
    """Parse a spec from text; `where` names it in errors.

    Raises:
        SpecError: The text is not a valid spec.
    """
    try:
        document = parse(text)
    except yaml.YAMLError as error:
        raise SpecError(
            f"{where}: not YAML",
            why=" ".join(str(error).split()),
            fix="check indentation and quotes at that line",
        ) from error
    if not isinstance(document, dict):
        raise SpecError(
            f"{where}: not a spec",
            why=f"a spec is a mapping of fields, this is {_type_name(document)}",
            fix="start from `raymi init` or a file under jobs/",
        )
    spec_class = _class_for(document, where)
    document = spec_class.expand(document)
    for override in overrides:
        _apply(document, override, spec_class)
    return build_spec(spec_class, document, where=where)


def build_spec(spec_class: type[Spec], document: dict[str, Any], *, where: str) -> JobSpec:
    """Validate a document against one spec class.

    Raises:
        SpecError: With the path of the first wrong field.
    """
    try:
        return cast(JobSpec, spec_class.from_document(document))
    except ValidationError as error:
        raise _explain(error, spec_class, where) from error
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"{where}: not a spec", why=str(error), fix="use plain text, numbers and lists"
        ) from error


def resolved_yaml(spec: Spec) -> str:
    """The spec with every default written out: submitting it again reproduces the run."""
    return dump(spec.to_document())


def _class_for(document: dict[str, Any], where: str) -> type[Spec]:
    kind = document.get("kind")
    if kind in KINDS:
        return KINDS[kind]
    raise SpecError(
        f"{where}: kind is missing" if kind is None else f"{where}: unknown kind {kind!r}",
        why="`kind:` tells specs apart",
        fix=closest(str(kind), list(KINDS)) if kind else f"add `kind:` ({', '.join(KINDS)})",
    )


def _apply(document: dict[str, Any], override: str, spec_class: type[Spec]) -> None:
    path, equals, text = override.partition("=")
    path = path.strip()
    if not equals:
        raise SpecError(
            f"--set {override}: not PATH=VALUE",
            why="there is no '=' in it",
            fix=f"for example --set {path or 'epochs'}=3",
        )
    kind = next(name for name, cls in KINDS.items() if cls is spec_class)
    # `train.epochs=2` on a train spec: the kind may be spelled out, as `raymi explain` prints it.
    if path.startswith(f"{kind}.") and kind not in spec_class.model_fields:
        path = path.removeprefix(f"{kind}.")
    try:
        require_field(spec_class, path)
    except NoSuchFieldError as error:
        raise SpecError(
            f"--set {override}: not a field of a {kind} spec",
            why=str(error),
            fix=f"`raymi explain {kind}` lists every path",
        ) from error
    try:
        assign(document, path, parse(text))
    except yaml.YAMLError as error:
        raise SpecError(
            f"--set {override}: the value is not YAML",
            why=" ".join(str(error).split()),
            fix="quote the value",
        ) from error


def _explain(error: ValidationError, spec_class: type[Spec], where: str) -> SpecError:
    details = error.errors(include_url=False)
    first = details[0]
    path = ".".join(str(part) for part in first["loc"]) or spec_class.__name__
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        owner = _owner(spec_class, first["loc"])
        names = [name for name in owner.model_fields if name != "kind"]
        return SpecError(
            f"{where}: {path}: unknown field{more}",
            why=f"{owner.__name__} has no {first['loc'][-1]!r}",
            fix=closest(str(first["loc"][-1]), names),
        )
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, NoSuchFieldError):
        return SpecError(
            f"{where}: space: not a field of the run{more}",
            why=message,
            fix="`raymi explain train` lists every path",
        )
    given = "" if first["type"] in ("missing", "value_error") else f", not {first['input']!r}"
    return SpecError(
        f"{where}: {path}: {_summary(first['type'])}{more}",
        why=f"{message}{given}",
        fix=_suggestion(first["type"], path, spec_class),
    )


def _summary(error_type: str) -> str:
    if error_type == "missing":
        return "required field is missing"
    if error_type == "value_error":
        return "impossible combination"
    return "wrong type" if error_type.endswith("_type") else "wrong value"


def _suggestion(error_type: str, path: str, spec_class: type[Spec]) -> str:
    kind = next((name for name, cls in KINDS.items() if cls is spec_class), "train")
    if error_type == "value_error":
        return "change one of the fields named above"
    return f"`raymi explain {kind}.{path}` says what belongs there"


def _owner(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    """The spec in which the last part of a location was looked up."""
    for part in location[:-1]:
        info = model.model_fields.get(str(part))
        below = nested_model(info.annotation) if info else None
        if below is not None:
            model = below
    return model


def _type_name(value: Any) -> str:
    return "empty" if value is None else f"a {type(value).__name__}"
