"""Rows through Ray Data: tasks read and screen, a pool of actors predicts, in the order of rows.

    readings -> tasks: rows, screened -> actors: predictions -> this process

Each arrow holds a bounded number of bytes, and whoever is too fast waits.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, ExecutionResources

from raymi.errors import RaymiError
from raymi.registry.signature import Signature
from raymi.serve.batch.contract import ERROR, ROW
from raymi.serve.batch.parts import Reading
from raymi.serve.batch.predictor_actor import INPUT_PREFIX, Charge, PredictorActor
from raymi.serve.batch.screening import plain, screen
from raymi.serve.batch.sizing import Sizes
from raymi.serve.batch.survey import Survey, rows_of

_READING = "reading"


@dataclass(frozen=True, slots=True)
class Source:
    """What a reading task needs to know."""

    survey: Survey
    readings: tuple[Reading, ...]
    signature: Signature
    kept: pa.Schema
    chunk_rows: int


def predictions_of(source: Source, charge: Charge, sizes: Sizes) -> Iterator[pa.Table]:
    """All rows of all readings, predicted, in order, a few at a time.

    Raises:
        RaymiError: The input is damaged, or the cluster gave up.
    """
    try:
        batches = _pipeline(source, charge, sizes).iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=1
        )
        for rows in batches:
            yield rows.select(charge.schema.names).cast(charge.schema)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, RaymiError):
            raise error.cause from None
        raise _gave_up(error) from error
    except (ray.exceptions.RayError, RuntimeError) as error:
        raise _gave_up(error) from error


def screened(source: Source, reading: Reading) -> Iterator[pa.Table]:
    """A reading's rows as the actors take them."""
    inputs = [field.name for field in source.signature.inputs]
    columns = list(dict.fromkeys([*inputs, *source.kept.names]))
    for first, rows in rows_of(
        source.survey, reading, columns=columns, chunk_rows=source.chunk_rows
    ):
        typed, errors = screen(rows, source.signature)
        yield pa.table(
            {
                ROW: pa.array(np.arange(first, first + rows.num_rows, dtype=np.int64)),
                ERROR: errors,
                **{field.name: _kept(rows, field) for field in source.kept},
                **{f"{INPUT_PREFIX}{name}": typed.column(name) for name in inputs},
            }
        )


def _kept(rows: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    column = plain(rows.column(field.name))
    return column if column.type == field.type else pc.cast(column, field.type)


def _pipeline(source: Source, charge: Charge, sizes: Sizes) -> Any:
    with DataContext.current(_context(sizes)):
        described = ray.data.from_items(
            [{_READING: index} for index in range(len(source.readings))],
            override_num_blocks=len(source.readings),
        )
        rows = described.map_batches(
            _read,
            batch_size=None,
            batch_format="numpy",
            fn_kwargs={"source": source},
            # On a small cluster the actors hold all CPUs; reading must go on all the same.
            num_cpus=0,
            compute=ray.data.TaskPoolStrategy(size=sizes.num_readers),
        )
        return rows.map_batches(
            PredictorActor,
            batch_size=sizes.max_batch_size,
            batch_format="pyarrow",
            fn_constructor_kwargs={"charge": charge},
            num_cpus=sizes.cpus_per_actor,
            num_gpus=sizes.gpus_per_actor,
            compute=ActorPoolStrategy(min_size=sizes.min_actors, max_size=sizes.max_actors),
        )


def _read(batch: Mapping[str, Sequence[int]], *, source: Source) -> Iterator[pa.Table]:
    for index in batch[_READING]:
        yield from screened(source, source.readings[int(index)])


def _context(sizes: Sizes) -> DataContext:
    # It warns that progress bars are off, and prints the traceback of what is raised here anyway.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    # Else a thread counts for Ray's usage statistics for as long as the process lives, and ends
    # the process if Ray is shut down before it.
    os.environ.setdefault("RAY_DATA_USAGE_DISABLED", "1")
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = sizes.block_bytes
    context.raise_original_map_exception = True
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ExecutionResources.for_limits(
        object_store_memory=sizes.object_store_bytes
    )
    return context


def _gave_up(error: Exception) -> RaymiError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return RaymiError(
        "the rows could not be predicted to their end",
        why=(lines[-1] if lines else type(error).__name__)[:300],
        fix="the same command goes on with the missing parts; if actors ran out of memory, lower "
        "actors.max_size or max_batch_size",
    )
