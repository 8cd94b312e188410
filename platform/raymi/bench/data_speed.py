"""How fast shuffled training batches come, against nothing but reading the same files in order.

Both sides are one thread and find the files in the page cache.

*Delivering* is what training does: `MemoryMappedRows` draws an epoch's order, gathers every
column of every row, encoded and with its target, and hands out micro-batches that are ready
for the device.

*Reading* is `readinto` from the first byte of the first training shard to the last byte of the
last one: into a buffer for all of them, so that the bytes are in memory afterwards, as a
loader's must be; and, as the most that any reader could do, into a small buffer that never
leaves the processor's cache, where each piece is overwritten by the next.

Ratios compare passes over all training rows per second, so nothing depends on how a row's size
is counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from raymi.data.loading import shards_of
from raymi.data.preprocessing import Preprocessing
from raymi.data.version import DatasetVersion, Split
from raymi.models.architecture import Architecture
from raymi.significance.interval import Interval, median_interval, ratio_interval
from raymi.specs.rows import RowSourceName
from raymi.specs.train import TrainSpec
from raymi.train.memory_rows import MemoryMappedRows
from raymi.train.plan import TrainPlan

MICRO_BATCH_SIZES = (64, 1024)

LARGEST_BUFFER = 1 << 30
"""Bytes. Of more than this, a reader's buffer holds only the end."""

CACHED_BUFFER = 1 << 18
"""Bytes. Half of a second-level cache of today, or less."""

Pass = Callable[[], None]
"""Goes over all training rows once."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Batches of one size."""

    micro_batch_size: int
    rows_per_s: float
    gb_per_s: float
    """10^9 bytes of encoded rows and targets."""

    of_reading: Interval
    """Share of the speed of reading into memory."""

    of_cached_reading: Interval
    """Share of the speed of reading into a buffer that stays in the cache."""


@dataclass(frozen=True, slots=True)
class DataSpeed:
    """What was measured; speeds are medians."""

    num_rows: int
    num_shards: int
    file_bytes: int
    """Of the training shards."""

    row_bytes: int
    """Of one encoded row with its target."""

    reading_gb_per_s: float
    cached_reading_gb_per_s: float
    deliveries: tuple[Delivery, ...]

    def to_document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure(
    dataset_dir: Path,
    dataset: DatasetVersion,
    preprocessing: Preprocessing,
    *,
    repeats: int = 15,
    seconds: float = 0.3,
) -> DataSpeed:
    """Deliver and read by turns.

    Args:
        dataset_dir: Where the shards are.
        dataset: Has training rows.
        preprocessing: What is delivered of a row.
        repeats: Turns of each side.
        seconds: Length of a turn.
    """
    files = [dataset_dir / shard.file for shard in shards_of(dataset, Split.TRAIN)]
    file_bytes = sum(file.stat().st_size for file in files)
    sources = {
        size: MemoryMappedRows(plan, rank=0, num_workers=1)
        for size in MICRO_BATCH_SIZES
        for plan in [_plan(dataset_dir, dataset, preprocessing, size)]
    }
    passes: dict[str, Pass] = {
        "reading": _reader(files, min(file_bytes, LARGEST_BUFFER)),
        "cached": _reader(files, CACHED_BUFFER),
        **{str(size): _deliverer(source) for size, source in sources.items()},
    }
    speeds = _by_turns(passes, repeats=repeats, seconds=seconds)
    row_bytes = sources[MICRO_BATCH_SIZES[0]].row_bytes
    num_rows = dataset.num_rows(Split.TRAIN)

    def delivery(size: int) -> Delivery:
        rows_per_s = median_interval(speeds[str(size)]).median * num_rows
        return Delivery(
            micro_batch_size=size,
            rows_per_s=rows_per_s,
            gb_per_s=rows_per_s * row_bytes / 1e9,
            of_reading=ratio_interval(speeds[str(size)], speeds["reading"]),
            of_cached_reading=ratio_interval(speeds[str(size)], speeds["cached"]),
        )

    return DataSpeed(
        num_rows=num_rows,
        num_shards=len(files),
        file_bytes=file_bytes,
        row_bytes=row_bytes,
        reading_gb_per_s=median_interval(speeds["reading"]).median * file_bytes / 1e9,
        cached_reading_gb_per_s=median_interval(speeds["cached"]).median * file_bytes / 1e9,
        deliveries=tuple(map(delivery, MICRO_BATCH_SIZES)),
    )


def _by_turns(
    passes: Mapping[str, Pass], *, repeats: int, seconds: float
) -> dict[str, list[float]]:
    """Passes per second of each, `repeats` times; the first turn of each does not count."""
    speeds: dict[str, list[float]] = {name: [] for name in passes}
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for one_pass in passes.values():
            _speed(one_pass, seconds)
        for _ in range(repeats):
            for name, one_pass in passes.items():
                speeds[name].append(_speed(one_pass, seconds))
    finally:
        torch.set_num_threads(num_threads)
    return speeds


def _speed(one_pass: Pass, seconds: float) -> float:
    """Passes per second; at least one whole pass."""
    start = time.perf_counter()
    num_passes = 0
    while (elapsed_s := time.perf_counter() - start) < seconds or num_passes == 0:
        one_pass()
        num_passes += 1
    return num_passes / elapsed_s


def _reader(files: list[Path], buffer_bytes: int) -> Pass:
    # Filled, so that its pages exist.
    buffer = memoryview(bytearray(b"1") * buffer_bytes)

    def read() -> None:
        place = 0
        for file in files:
            with file.open("rb", buffering=0) as stream:
                while count := stream.readinto(buffer[place:]):
                    place = (place + count) % buffer_bytes

    return read


def _deliverer(source: MemoryMappedRows) -> Pass:
    epoch = 0

    def deliver() -> None:
        nonlocal epoch
        for step in source.steps(epoch, 0):
            for _ in step.batches:
                pass
        epoch += 1

    return deliver


def _plan(
    dataset_dir: Path, dataset: DatasetVersion, preprocessing: Preprocessing, size: int
) -> TrainPlan:
    """A run whose rows come in steps of one micro-batch; nothing else about it matters."""
    spec = {
        "name": "data-speed",
        "problem": "none",
        "data": dataset.name,
        "batch": {"global_batch_size": size, "micro_batch_size": size},
    }
    return TrainPlan(
        run_id="data-speed",
        run_dir=str(dataset_dir),
        spec=TrainSpec.from_document(spec),
        dataset=dataset,
        dataset_dir=str(dataset_dir),
        preprocessing=preprocessing,
        architecture=Architecture(name="none", arguments={}),
        accelerator="cpu",
        micro_batch_size=size,
        row_source=RowSourceName.MEMORY_MAP,
    )
