"""Arrow IPC files laid out for memory-mapping: uncompressed, one record batch each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from raymi.data.version import Shard
from raymi.specs.data import Split


def write_shards(
    tables: Mapping[Split, pa.Table], directory: Path, *, rows_per_shard: int
) -> tuple[Shard, ...]:
    """Write every split as `<split>-<number>.arrow`; a split without rows has no shards."""
    shards = []
    for split in Split:
        table = tables[split]
        for number, first in enumerate(range(0, table.num_rows, rows_per_shard)):
            rows = table.slice(first, rows_per_shard).combine_chunks()
            shard = Shard(
                file=f"{split.value}-{number:05d}.arrow", split=split, num_rows=rows.num_rows
            )
            with (
                pa.OSFile(str(directory / shard.file), "wb") as sink,
                pa.ipc.new_file(sink, rows.schema) as writer,
            ):
                writer.write_table(rows)
            shards.append(shard)
    return tuple(shards)
