"""How far a sweep is: trials done, and about how long the others will take."""

from __future__ import annotations

import time
from collections.abc import Callable

from raymi.train.events import Event
from raymi.train.failure import Policy
from raymi.train.follow import format_seconds


class Countdown:
    """Counts trials that ended, one event at a time."""

    def __init__(self, num_trials: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._num_trials = num_trials
        self._num_done = 0
        self._clock = clock
        self._began_at = clock()

    def __call__(self, event: Event) -> str | None:
        """A line once a trial has ended and others have not; None otherwise."""
        has_failed = event["event"] == "failure" and event["policy"] == Policy.STOP
        if event["event"] != "finished" and not has_failed:
            return None
        self._num_done += 1
        num_left = self._num_trials - self._num_done
        if num_left <= 0:
            return None
        eta_s = (self._clock() - self._began_at) / self._num_done * num_left
        return (
            f"{self._num_done} of {self._num_trials} trials done, "
            f"about {format_seconds(eta_s)} left"
        )
