"""How many requests a replica is at work on, and what Serve needs to scale by it.

Requests reach a replica past Serve's own counting (`raymi.serve.ingress`). A replica tells Serve
its own number in place of the one that Serve has for it, and Serve's own policy does the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from raymi.specs.deploy import ScalingSpec

RUNNING_REQUESTS = "running_requests"
"""Serve's name for what its policy compares with the target; a replica's own value replaces it."""

_BATCHES_IN_HAND = 2
_REPORT_INTERVAL_S = 2.0
_LOOK_BACK_S = 10.0


class OngoingRequests:
    """The mean number of requests at work, at the price of a few additions for each.

    What was begun and not ended is `count` intervals that all end now; so the time spent so far is
    known from their number and the sum of their beginnings.
    """

    def __init__(self, now_s: Callable[[], float] = time.perf_counter) -> None:
        """Start with none."""
        self.count = 0
        self._now_s = now_s
        self._zero_s = self._read_s = now_s()
        self._began_s = 0.0
        self._ended_s = 0.0
        self._read_spent_s = 0.0

    def began(self, at_s: float) -> None:
        """A request began."""
        self.count += 1
        self._began_s += at_s - self._zero_s

    def ended(self, began_s: float, seconds: float) -> None:
        """The request that began then is over."""
        self.count -= 1
        self._began_s -= began_s - self._zero_s
        self._ended_s += seconds

    def mean(self) -> float:
        """Requests at work, on average since this was asked last."""
        now_s = self._now_s()
        spent_s = self._ended_s + self.count * (now_s - self._zero_s) - self._began_s
        elapsed_s, newly_s = now_s - self._read_s, spent_s - self._read_spent_s
        self._read_s, self._read_spent_s = now_s, spent_s
        return max(0.0, newly_s / elapsed_s) if elapsed_s > 0 else float(self.count)


def target_ongoing_requests(scaling: ScalingSpec, *, max_batch_size: int) -> float:
    """Requests at work in each replica to aim at: one batch computed, and the next collecting."""
    return scaling.target_ongoing_requests or float(_BATCHES_IN_HAND * max_batch_size)


def autoscaling_config(scaling: ScalingSpec, *, max_batch_size: int) -> dict[str, Any]:
    """Serve's own configuration.

    An application starts with one replica even where none may be left: what is deployed is loaded
    and checked once before anybody relies on it.
    """
    return {
        "min_replicas": scaling.min_replicas,
        "initial_replicas": max(1, scaling.min_replicas),
        "max_replicas": scaling.max_replicas,
        "target_ongoing_requests": target_ongoing_requests(scaling, max_batch_size=max_batch_size),
        "upscale_delay_s": scaling.upscale_delay_s,
        "downscale_delay_s": scaling.downscale_delay_s,
        "downscale_to_zero_delay_s": scaling.idle_s,
        "metrics_interval_s": _REPORT_INTERVAL_S,
        "look_back_period_s": _LOOK_BACK_S,
    }
