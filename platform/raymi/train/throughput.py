"""Training samples per second, with warm-up, validation and checkpoints left out."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import torch

WARMUP_STEPS = 5
"""First steps of every attempt that are not counted: allocators, thread pools and kernel
caches fill up. Runs of fewer than twice as many steps count everything."""

_GIB = 1 << 30


class Stopwatch:
    """Adds up the time between `resume` and `pause`, and the samples stepped in it."""

    def __init__(
        self,
        *,
        warmup_steps: int,
        synchronize: Callable[[], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._warmup_steps = warmup_steps
        self._synchronize = synchronize
        self._clock = clock
        self._started_at: float | None = None
        self._elapsed_s = 0.0
        self._num_samples = 0
        self._num_steps = 0

    def resume(self) -> None:
        """Start the clock; queued device work is finished first."""
        self._synchronize()
        self._started_at = self._clock()

    def pause(self) -> None:
        """Stop the clock once queued device work is done."""
        if self._started_at is not None:
            self._synchronize()
            self._elapsed_s += self._clock() - self._started_at
            self._started_at = None

    def count(self, num_samples: int) -> None:
        """Record one optimizer step; the last step of the warm-up starts everything anew."""
        self._num_steps += 1
        self._num_samples += num_samples
        if self._num_steps == self._warmup_steps:
            self._elapsed_s, self._num_samples = 0.0, 0
            self.resume()

    @property
    def samples_per_s(self) -> float:
        """Samples over seconds so far; 0 before the first measured step."""
        elapsed_s = self._elapsed_s
        if self._started_at is not None:
            elapsed_s += self._clock() - self._started_at
        return self._num_samples / elapsed_s if elapsed_s > 0 else 0.0


def warmup_steps(total_steps: int) -> int:
    """How many first steps not to count in a run of this length."""
    return WARMUP_STEPS if total_steps >= 2 * WARMUP_STEPS else 0


def synchronizer(device: torch.device) -> Callable[[], None]:
    """Wait for the device's queue; nothing to wait for on the CPU."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return lambda: None


def peak_memory_gib(device: torch.device) -> float:
    """The most memory this process has held: of its device, or resident on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / _GIB
    # Linux reports kibibytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GIB
