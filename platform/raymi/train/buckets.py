"""Parameters as flat buckets: many small or parts of large ones, whole or a rank's shards."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

_BUCKET_ELEMENTS = {"cpu": 1 << 16, "cuda": 1 << 24}
"""Elements that are in fp32 at once, to bound memory; on a CPU, so that they stay in its cache."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of one parameter, and the same rows of its gradient and state."""

    tensors: dict[str, Tensor]
    """Views; what is written to them is written to the whole."""

    step: int
    first_element: int
    """Place of its first weight among all weights of the model."""

    @property
    def num_elements(self) -> int:
        """How many weights."""
        return self.tensors["weight"].numel()


@dataclass(slots=True)
class Bucket:
    """Pieces that are updated at once, as one flat vector."""

    pieces: list[Piece] = field(default_factory=list)
    num_elements: int = 0

    @property
    def step(self) -> int:
        """Of every piece, counted from 1."""
        return self.pieces[0].step

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.pieces[0].tensors["weight"].dtype

    def add(self, piece: Piece) -> None:
        """Append."""
        self.pieces.append(piece)
        self.num_elements += piece.num_elements

    def takes(self, piece: Piece) -> bool:
        """Whether it is of the same kind and there is room."""
        weight = piece.tensors["weight"]
        return not self.pieces or (
            (self.step, self.dtype) == (piece.step, weight.dtype)
            and self.num_elements + piece.num_elements <= _bucket_elements(weight)
        )

    def read(self, name: str) -> Tensor:
        """A flat fp32 copy."""
        flat = [piece.tensors[name].reshape(-1) for piece in self.pieces]
        return torch.cat(flat).float() if len(flat) > 1 else flat[0].to(torch.float32, copy=True)

    def write(self, name: str, values: Tensor) -> None:
        """Put a flat vector back where `read` took it from, in the dtype found there."""
        places = [p.tensors[name] for p in self.pieces]
        parts = torch.split(values, [p.num_elements for p in self.pieces])
        torch._foreach_copy_(
            places, [part.view(place.shape) for part, place in zip(parts, places, strict=True)]
        )

    def counters(self) -> Tensor:
        """int32: the place of each element among all weights of the model, modulo 2^32."""
        device = self.pieces[0].tensors["weight"].device
        runs: list[list[int]] = []
        for piece in self.pieces:
            if runs and runs[-1][1] == piece.first_element:
                runs[-1][1] += piece.num_elements
            else:
                runs.append([piece.first_element, piece.first_element + piece.num_elements])
        return torch.cat([_counters(first, end, device) for first, end in runs])


def buckets_of(pieces: list[Piece]) -> Iterator[Bucket]:
    """Pack pieces, in order, into buckets of one step and one dtype."""
    bucket = Bucket()
    for piece in pieces:
        if not bucket.takes(piece):
            yield bucket
            bucket = Bucket()
        bucket.add(piece)
    if bucket.pieces:
        yield bucket


def pieces_of(parameter: Tensor, state: dict[str, Any], first_element: int) -> Iterator[Piece]:
    """This rank's part of a parameter, in blocks of rows that fit a bucket."""
    tensors = {"weight": parameter, "grad": parameter.grad, **state}
    step = int(tensors.pop("step"))
    if isinstance(parameter, DTensor):
        _, offsets = compute_local_shape_and_global_offset(
            parameter.shape, parameter.device_mesh, parameter.placements
        )
        strides = [math.prod(parameter.shape[axis + 1 :]) for axis in range(parameter.ndim)]
        first_element += sum(o * s for o, s in zip(offsets, strides, strict=True))
    local = {name: _local(tensor) for name, tensor in tensors.items()}
    num_rows, *rest = local["weight"].shape
    row_size = math.prod(rest)
    height = max(1, _bucket_elements(parameter) // max(1, row_size))
    for row in range(0, num_rows, height):
        rows = {name: tensor[row : row + height] for name, tensor in local.items()}
        if rows["weight"].numel():
            yield Piece(rows, step, first_element + row * row_size)


def _local(tensor: Tensor) -> Tensor:
    local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return local.detach().unsqueeze(0) if local.ndim == 0 else local.detach()


def _counters(first: int, end: int, device: torch.device) -> Tensor:
    counters = torch.arange(end - first, dtype=torch.int32, device=device)
    # As int32 reads the lower 32 bits; sums wrap around.
    return counters.add_((first + (1 << 31)) % (1 << 32) - (1 << 31))


def _bucket_elements(tensor: Tensor) -> int:
    return _BUCKET_ELEMENTS.get(tensor.device.type, _BUCKET_ELEMENTS["cuda"])
