"""How many actors, how large a batch, how many bytes on the way: what the spec leaves open."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raymi.errors import InfeasibleError
from raymi.specs.batch_predict import ActorsSpec

_CHUNK_BYTES = 8 << 20
_MAX_CHUNK_ROWS = 1024
_MIN_BLOCK_BYTES, _MAX_BLOCK_BYTES = 256 << 10, 16 << 20
_BLOCKS_ON_THE_WAY = 8
_MIN_STORE_BYTES = 32 << 20
_READERS_PER_ACTOR = 0.5


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of one pipeline."""

    max_batch_size: int
    """Rows in one forward pass."""

    min_actors: int
    max_actors: int
    cpus_per_actor: float
    gpus_per_actor: float

    num_threads: int
    """Compute threads of an actor."""

    num_readers: int
    """Tasks that read at the same time."""

    chunk_rows: int
    """Rows that are read at a time."""

    block_bytes: int
    """Of the rows that travel together."""

    object_store_bytes: int
    """Of all rows that are on the way."""


def settle(
    actors: ActorsSpec,
    nodes: Sequence[Mapping[str, float]],
    *,
    max_batch_size: int,
    num_rows: int,
    row_bytes: int,
) -> Sizes:
    """Fit the pool to the cluster and to the rows.

    Args:
        actors: What was asked.
        nodes: Total resources of each node, by Ray's names.
        max_batch_size: Rows in one forward pass.
        num_rows: To be predicted.
        row_bytes: Of one row on its way.

    Raises:
        InfeasibleError: The smallest pool can never be placed.
    """
    gpus = actors.gpus_per_actor
    if gpus is None:
        gpus = 1.0 if any(node.get("GPU", 0.0) >= 1 for node in nodes) else 0.0
    room = sum(_fit(node, actors.cpus_per_actor, gpus) for node in nodes)
    if room < actors.min_size:
        raise _no_room(actors, nodes, gpus=gpus, room=room)
    # More actors than batches would start for nothing.
    batches = math.ceil(max(num_rows, 1) / max_batch_size)
    most = min(room, actors.max_size or room, max(batches, actors.min_size))
    block_rows = max(max_batch_size, _MAX_CHUNK_ROWS)
    block_bytes = min(max(row_bytes * block_rows, _MIN_BLOCK_BYTES), _MAX_BLOCK_BYTES)
    readers = max(1, math.ceil(most * _READERS_PER_ACTOR))
    return Sizes(
        max_batch_size=max_batch_size,
        min_actors=min(actors.min_size, most),
        max_actors=most,
        cpus_per_actor=actors.cpus_per_actor,
        gpus_per_actor=gpus,
        num_threads=max(1, int(actors.cpus_per_actor)),
        num_readers=readers,
        chunk_rows=min(_MAX_CHUNK_ROWS, max(1, _CHUNK_BYTES // max(row_bytes, 1))),
        block_bytes=block_bytes,
        object_store_bytes=max(
            _MIN_STORE_BYTES, _BLOCKS_ON_THE_WAY * block_bytes * (most + readers)
        ),
    )


def _fit(node: Mapping[str, float], cpus: float, gpus: float) -> int:
    by_cpu = int(node.get("CPU", 0.0) / cpus)
    if gpus == 0:
        return by_cpu
    have = node.get("GPU", 0.0)
    # Of shares, only those that fit on one accelerator together.
    by_gpu = int(have) * int(1.0 / gpus + 1e-9) if gpus < 1 else int(have / gpus)
    return min(by_cpu, by_gpu)


def _no_room(
    actors: ActorsSpec, nodes: Sequence[Mapping[str, float]], *, gpus: float, room: int
) -> InfeasibleError:
    wanted = f"{actors.cpus_per_actor:g} CPU" + (f", {gpus:g} GPU" if gpus else "")
    there = "; ".join(
        f"{node.get('CPU', 0.0):g} CPU, {node.get('GPU', 0.0):g} GPU" for node in nodes
    )
    return InfeasibleError(
        f"actors: {actors.min_size} of {wanted} each can never be placed",
        why=f"there is room for {room}; the nodes have: {there or 'nothing'}",
        fix="lower actors.min_size, actors.cpus_per_actor or actors.gpus_per_actor",
    )
