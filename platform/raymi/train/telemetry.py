"""What a run's own instruments say: step times, rates, waiting, memory, energy, MFU.

Each worker keeps a `TelemetryRecorder` and writes a `RankTelemetry`; `merge` makes one
`RunTelemetry` of them.
"""

from __future__ import annotations

import socket
import threading
from array import array
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from raymi.accelerators.energy import Energy, EnergyMethod
from raymi.accelerators.inventory import DeviceFacts
from raymi.accelerators.meters.protocol import Meter
from raymi.store.record import Record
from raymi.train.instrument_log import InstrumentLog, TelemetryPoint
from raymi.train.step_times import StepTimes, combine, summarize

TELEMETRY_FILE = "telemetry.json"
"""A RunTelemetry, in the run's directory."""

SAMPLING_INTERVAL_S = 1.0
"""Between two looks at the instruments."""

_WINDOW_STEPS = 100
"""Newest steps that live numbers describe, at most."""
_HOST_METERS = frozenset({"rapl"})
"""Meters that measure all of a host, whichever worker reads them."""


class RankTelemetry(Record):
    """One worker's part of a run: its last attempt, from start to end."""

    rank: int
    """The worker's number, from 0."""

    host: str
    """Name of its machine."""

    device: DeviceFacts
    """What it computes on."""

    meter: str
    """Where power and energy come from: `amdsmi`, `nvml`, `rapl`, `estimate`."""

    num_sharing: int
    """Devices in the package that power and energy are of."""

    step_times: StepTimes
    """Warm-up, validation and checkpoints excluded."""

    num_samples: int
    """Rows trained on by all workers while this one looked, warm-up included."""

    samples_per_s: float
    """Rows of all workers per second of this one's steps, warm-up excluded."""

    tokens_per_s: float | None
    """Likewise in tokens; None where rows are not made of them."""

    data_wait_share: float
    """Part of the time of its steps that went by waiting for rows, from 0 to 1."""

    peak_memory_gib: float
    """The most memory it held, in GiB: of its device, or resident on a CPU."""

    flops_per_sample: float | None
    """Operations of one row's forward and backward pass; None where they were not counted."""

    energy: Energy | None
    """From the first look to the last: warm-up, validation and checkpoints included."""

    throttled_share: float | None
    """Part of the looks at which power, heat or current limited the clock, from 0 to 1."""

    series: tuple[TelemetryPoint, ...]
    """How it developed, evenly thinned out."""


class RunTelemetry(Record):
    """All workers of a run's last attempt."""

    num_workers: int
    """How many there were."""

    step_times: StepTimes
    """Of the slowest worker; the histogram is of all."""

    samples_per_s: float
    """Training rows per second over all workers, warm-up excluded."""

    tokens_per_s: float | None
    """Likewise in tokens; None where rows are not made of them."""

    data_wait_share: float
    """Of the worker that waited longest, from 0 to 1: the others waited for it."""

    peak_memory_gib: float
    """Of the largest worker, in GiB."""

    flops_per_sample: float | None
    """Operations of one row's forward and backward pass; None where they were not counted."""

    achieved_tflops_per_worker: float | None
    """10^12 operations per second that each worker's training came to."""

    peak_tflops: float | None
    """Of the device's data sheet in this precision; None where it is not known."""

    achieved_tflops: float | None
    """The best that a large matrix product is known to reach on the device."""

    mfu_peak: float | None
    """Model FLOPS utilization against the data sheet, from 0 to 1."""

    mfu_achieved: float | None
    """Against what a large matrix product reaches."""

    energy: Energy | None
    """Of all devices, what workers share counted once; None if one of them cannot tell."""

    joules_per_sample: float | None
    """That energy per row: warm-up, validation and checkpoints are paid for, too."""

    throttled_share: float | None
    """Of the worker that was held back most, from 0 to 1."""

    ranks: tuple[RankTelemetry, ...]
    """Each worker, by rank."""


def rank_file(run_dir: Path, rank: int) -> Path:
    """Where a worker writes its RankTelemetry."""
    return run_dir / f"telemetry.{rank:05d}.json"


def forget_ranks(run_dir: Path) -> None:
    """Remove what an attempt with more workers may have left."""
    for path in rank_files(run_dir):
        path.unlink(missing_ok=True)


def rank_files(run_dir: Path) -> list[Path]:
    """What workers have written, by rank."""
    return sorted(run_dir.glob("telemetry.[0-9]*.json"))


class TelemetryRecorder:
    """One worker's instruments: told of every step, and looking at the meter in between.

    Args:
        meter: Of the worker's device; closed by `close`.
        warmup_steps: First steps that rates and step times leave out.
        interval_s: Seconds between two looks at the meter.
    """

    def __init__(
        self, meter: Meter, *, warmup_steps: int = 0, interval_s: float = SAMPLING_INTERVAL_S
    ) -> None:
        self._log = InstrumentLog(meter)
        self._warmup_steps = warmup_steps
        self._interval_s = interval_s
        self._durations_s = array("f")
        self._waits_s = array("f")
        self._num_samples = 0
        self._num_tokens = 0
        self._warmup_samples = 0
        self._warmup_tokens = 0
        self._tokens_shown = 0
        self._steps_shown = 0
        self._steps_seen = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look for the first time, and go on looking in the background."""
        self.sample()
        self._thread = threading.Thread(target=self._keep_looking, name="telemetry", daemon=True)
        self._thread.start()

    def step(
        self, duration_s: float, data_wait_s: float, num_samples: int, num_tokens: int = 0
    ) -> None:
        """One optimizer step is done. Costs well under a microsecond.

        Args:
            duration_s: What it took, waiting for rows included.
            data_wait_s: What of it went by waiting for rows.
            num_samples: Rows of the step over all workers.
            num_tokens: Tokens in them, where rows are made of tokens.
        """
        self._durations_s.append(duration_s)
        self._waits_s.append(data_wait_s)
        self._num_samples += num_samples
        self._num_tokens += num_tokens
        if len(self._durations_s) == self._warmup_steps:
            self._warmup_samples, self._warmup_tokens = self._num_samples, self._num_tokens

    def live(self) -> dict[str, float]:
        """Numbers for a progress line, of the newest steps; only those that there are.

        `step_ms` is the median of the last 100 steps, `data_wait_share` is of the same;
        `tokens_per_s` is since the last call; `power_w` is the newest that the meter said.
        """
        numbers: dict[str, float] = {}
        newest = self._durations_s[-_WINDOW_STEPS:]
        if newest:
            numbers["step_ms"] = round(median(newest) * 1e3, 3)
            waited_s = sum(self._waits_s[-_WINDOW_STEPS:])
            numbers["data_wait_share"] = round(_ratio(waited_s, sum(newest)), 4)
        since_s = sum(self._durations_s[self._steps_shown :])
        num_tokens = self._num_tokens - self._tokens_shown
        self._steps_shown, self._tokens_shown = len(self._durations_s), self._num_tokens
        if num_tokens and since_s > 0:
            numbers["tokens_per_s"] = round(num_tokens / since_s, 1)
        if (power_w := self._log.power_w) is not None:
            numbers["power_w"] = round(power_w, 1)
        return numbers

    def sample(self) -> None:
        """Look at the meter once."""
        with self._lock:
            num_steps = len(self._durations_s)
            fresh = self._durations_s[self._steps_seen : num_steps]
            self._steps_seen = num_steps
            self._log.look(num_steps, sum(fresh) / len(fresh) * 1e3 if fresh else None)

    def rank_telemetry(
        self,
        *,
        rank: int,
        device: DeviceFacts,
        peak_memory_gib: float,
        flops_per_sample: float | None = None,
    ) -> RankTelemetry:
        """Look a last time, and sum up."""
        self.sample()
        counted_s = self._durations_s[self._warmup_steps :]
        elapsed_s = sum(counted_s)
        num_tokens = self._num_tokens - self._warmup_tokens
        num_samples = self._num_samples - self._warmup_samples
        return RankTelemetry(
            rank=rank,
            host=socket.gethostname(),
            device=device,
            meter=self._log.meter.name,
            num_sharing=self._log.meter.num_sharing,
            step_times=summarize(counted_s),
            num_samples=self._num_samples,
            samples_per_s=_ratio(num_samples, elapsed_s),
            tokens_per_s=_ratio(num_tokens, elapsed_s) if self._num_tokens else None,
            data_wait_share=_ratio(sum(self._waits_s[self._warmup_steps :]), elapsed_s),
            peak_memory_gib=peak_memory_gib,
            flops_per_sample=flops_per_sample,
            energy=self._log.energy(),
            throttled_share=self._log.throttled_share,
            series=self._log.points(),
        )

    def close(self) -> None:
        """Stop looking, and let go of the meter. A second call does nothing."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._log.meter.close()

    def _keep_looking(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self.sample()


def merge(
    ranks: Sequence[RankTelemetry],
    *,
    samples_per_s: float | None = None,
    flops_per_sample: float | None = None,
    peak_tflops: float | None = None,
    achieved_tflops: float | None = None,
) -> RunTelemetry:
    """Put the workers of a run together.

    MFU is operations per row times rows per second per worker, over the rate of one device.

    Args:
        ranks: What each worker wrote down; at least one.
        samples_per_s: Of the whole run, if it was measured better than by its slowest worker.
        flops_per_sample: Operations per row, if the workers did not write them down.
        peak_tflops: Of one device in the run's precision; None where it is not known.
        achieved_tflops: What is known to be reached of it.
    """
    rate = samples_per_s or min(rank.samples_per_s for rank in ranks)
    flops = flops_per_sample or _largest([rank.flops_per_sample for rank in ranks])
    tflops = None if flops is None else flops * rate / len(ranks) / 1e12
    energy = _total_energy(ranks)
    num_samples = max(rank.num_samples for rank in ranks)
    tokens = [rank.tokens_per_s for rank in ranks if rank.tokens_per_s is not None]
    return RunTelemetry(
        num_workers=len(ranks),
        step_times=combine([rank.step_times for rank in ranks]),
        samples_per_s=rate,
        tokens_per_s=min(tokens, default=None),
        data_wait_share=max(rank.data_wait_share for rank in ranks),
        peak_memory_gib=max(rank.peak_memory_gib for rank in ranks),
        flops_per_sample=flops,
        achieved_tflops_per_worker=tflops,
        peak_tflops=peak_tflops,
        achieved_tflops=achieved_tflops,
        mfu_peak=tflops / peak_tflops if tflops and peak_tflops else None,
        mfu_achieved=tflops / achieved_tflops if tflops and achieved_tflops else None,
        energy=energy,
        joules_per_sample=energy.joules / num_samples if energy and num_samples else None,
        throttled_share=_largest([rank.throttled_share for rank in ranks]),
        ranks=tuple(sorted(ranks, key=lambda rank: rank.rank)),
    )


def _total_energy(ranks: Sequence[RankTelemetry]) -> Energy | None:
    """Energy of everything measured, each thing once; of its readers, the one that saw most."""
    measured: dict[tuple[str | int | None, ...], Energy] = {}
    for rank in ranks:
        if rank.energy is None:
            return None
        what = _measured(rank)
        if what not in measured or measured[what].joules < rank.energy.joules:
            measured[what] = rank.energy
    methods = {energy.method for energy in measured.values()}
    return Energy(
        joules=sum(energy.joules for energy in measured.values()),
        mean_power_w=sum(energy.mean_power_w for energy in measured.values()),
        method=next(method for method in reversed(EnergyMethod) if method in methods),
    )


def _measured(rank: RankTelemetry) -> tuple[str | int | None, ...]:
    """What a worker's meter measures: a host, a package by its PCI address, or its own device."""
    if rank.meter in _HOST_METERS:
        return (rank.host,)
    if rank.device.bdf is not None:
        return rank.host, rank.device.bdf
    return rank.host, None, rank.rank


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _largest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
