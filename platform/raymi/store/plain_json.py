"""JSON that people and other languages can read: short lines, no NaN, one text per value."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

_WIDTH = 160
"""Characters of a line that holds a whole object; lists of numbers are on one line always."""

_LARGEST_EXACT = 2.0**53
"""Integers up to here are the same in every language."""


def canonical(document: Any) -> str:
    """One text for each document, whatever wrote it and however it is laid out."""
    return json.dumps(_without_fractions(_plain(document)), sort_keys=True, separators=(",", ":"))


def laid_out(document: Any) -> str:
    """A document with indented objects, and with one line for each list of plain values."""
    return "".join(_pieces(_plain(document), ""))


def _plain(value: Any) -> Any:
    """Keys are text, and what is not a number is a word that pydantic reads back."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0.0 else ''}Infinity"
    return value


def _without_fractions(value: Any) -> Any:
    """Whole numbers as such: some tools write 2.0 as 2."""
    if isinstance(value, dict):
        return {key: _without_fractions(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_fractions(part) for part in value]
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_EXACT
    return int(value) if is_whole else value


def _pieces(value: Any, indent: str) -> Iterator[str]:
    if not isinstance(value, dict | list) or _fits_a_line(value):
        yield json.dumps(value, separators=(",", ":") if isinstance(value, list) else (", ", ": "))
        return
    is_list = isinstance(value, list)
    labelled = (
        [("", part) for part in value]
        if isinstance(value, list)
        else [(f"{json.dumps(key)}: ", part) for key, part in value.items()]
    )
    inner = f"{indent} "
    for position, (label, part) in enumerate(labelled):
        yield f"{',' if position else '{['[is_list]}\n{inner}{label}"
        yield from _pieces(part, inner)
    yield f"\n{indent}{'}]'[is_list]}"


def _fits_a_line(value: dict[str, Any] | list[Any]) -> bool:
    parts = value.values() if isinstance(value, dict) else value
    if any(isinstance(part, dict | list) and part for part in parts):
        return False
    return isinstance(value, list) or len(json.dumps(value)) <= _WIDTH
