"""Everything a resumed run needs, on disk without a pickle.

A checkpoint is a nested document: tensors go to `state.safetensors`, the rest (and the
places of the tensors) to `state.json`. Whoever publishes it adds a manifest of both.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from raymi.store.artifacts import verify

_TENSOR = "__tensor__"
_PAIRS = "__pairs__"
_TUPLE = "__tuple__"


def write_state(directory: Path, state: dict[str, Any]) -> None:
    """Write a nested state of dicts, lists, tensors and JSON values into a directory."""
    tensors: dict[str, torch.Tensor] = {}
    document = _flatten(state, "state", tensors)
    write_tensors(tensors, directory / "state.safetensors")
    (directory / "state.json").write_text(json.dumps(document))


def load_state(directory: Path) -> dict[str, Any]:
    """Read what `write_state` wrote and somebody sealed; tensors are on the CPU.

    Raises:
        IntegrityError: A byte is missing or changed.
        NotFoundError: The directory holds no finished checkpoint.
    """
    verify(directory)
    tensors = load_file(directory / "state.safetensors")
    state: dict[str, Any] = _restore(json.loads((directory / "state.json").read_text()), tensors)
    return state


def write_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write a safetensors file.

    Raises:
        OSError: The storage is full or away; the library has an error of its own for that.
    """
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), str(error), str(path)) from error


def copied(value: Any) -> Any:
    """The same nested state with every tensor copied to the CPU: later steps do not change it."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: copied(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied(below) for below in value)
    return value


def _flatten(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().cpu().contiguous()
        return {_TENSOR: path}
    if isinstance(value, dict):
        # As pairs, because optimizers number their parameters and JSON keys are text.
        return {
            _PAIRS: [
                [key, _flatten(below, f"{path}.{key}", tensors)] for key, below in value.items()
            ]
        }
    if isinstance(value, tuple):
        return {_TUPLE: _flatten(list(value), path, tensors)}
    if isinstance(value, list):
        return [_flatten(below, f"{path}.{index}", tensors) for index, below in enumerate(value)]
    return value


def _restore(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_restore(below, tensors) for below in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if _TUPLE in value:
        return tuple(_restore(value[_TUPLE], tensors))
    return {key: _restore(below, tensors) for key, below in value[_PAIRS]}
