"""Dotted paths into a spec: does the field exist, what is it, set it in a document."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo


class NoSuchFieldError(ValueError):
    """A path names a field that the spec does not have."""


def require_field(model: type[BaseModel], path: str) -> FieldInfo | None:
    """Return the field a path leads to; None for a key inside a free-form mapping.

    Raises:
        NoSuchFieldError: With the closest field that does exist.
    """
    current: type[BaseModel] | None = model
    info: FieldInfo | None = None
    walked: list[str] = []
    for part in path.split("."):
        if current is None:
            if info is not None and _is_mapping(info.annotation):
                return None
            raise NoSuchFieldError(
                f"{path!r} goes on after {'.'.join(walked)!r}, which has no fields"
            )
        if part not in current.model_fields:
            raise NoSuchFieldError(_no_field(current, part, path))
        info = current.model_fields[part]
        current = nested_model(info.annotation)
        walked.append(part)
    return info


def nested_model(annotation: Any) -> type[BaseModel] | None:
    """The spec a field holds, looking through Optional; None for plain values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for choice in typing.get_args(annotation):
            if found := nested_model(choice):
                return found
    return None


def assign(document: dict[str, Any], path: str, value: Any) -> None:
    """Set one value in a parsed document, making the mappings on the way."""
    *parents, leaf = path.split(".")
    target = document
    for part in parents:
        below = target.get(part)
        if not isinstance(below, dict):
            below = {}
        target[part] = below
        target = below
    target[leaf] = value


def field_paths(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every field of a spec, nested ones too, in the order they are declared."""
    for name, info in model.model_fields.items():
        path = f"{prefix}{name}"
        yield path, info
        if below := nested_model(info.annotation):
            yield from field_paths(below, f"{path}.")


def closest(word: str, choices: list[str]) -> str:
    """A did-you-mean sentence, or the list of choices."""
    near = [choice for choice in choices if word and choice.startswith(word)][:1]
    near = near or difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"choose one of: {', '.join(sorted(choices))}"


def _no_field(model: type[BaseModel], part: str, path: str) -> str:
    suggestion = closest(part, [name for name in model.model_fields if name != "kind"])
    return f"{path!r} is not a field: {model.__name__} has no {part!r}; {suggestion}"


def _is_mapping(annotation: Any) -> bool:
    return typing.get_origin(annotation) is dict
