"""Watches a sweep while it runs: writes events, counts what is spent, says when to stop."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from raymi.sweep.accounts import SESSION, Accounts
from raymi.sweep.allowance import Limits
from raymi.sweep.evidence import RunEvidence, Spending
from raymi.sweep.runs import SweepRun
from raymi.train.events import Event, EventLog

_LOOK_INTERVAL_S = 0.5
"""Between two looks at the books: reading them takes milliseconds."""

_BUDGET_INTERVAL_S = 5.0
"""Between two events about the budget; the last one tells how long a killed driver worked."""


class Monitor:
    """One driver's eyes on its sweep; implements the tuner's `Watcher`."""

    def __init__(
        self,
        log: EventLog,
        accounts: Accounts,
        limits: Limits,
        *,
        tell: Callable[[Event], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Get ready.

        Args:
            log: Where events go.
            accounts: The books.
            limits: Of the whole sweep.
            tell: Is told every event at once.
            clock: Seconds.
        """
        self.session = secrets.token_hex(2)
        self._tell = tell
        self._log = log
        self._accounts = accounts
        self._whole = limits
        self._limits = limits.without_reserve()
        self._clock = clock
        self._phase = "probe"
        self._running: set[str] = set()
        self._looked_at = float("-inf")
        self._told_at = float("-inf")
        self._reached: str | None = None

    def begin(self, **fields: Any) -> None:
        """A driver takes up the sweep."""
        self.say(SESSION, **fields)

    def say(self, kind: str, **fields: Any) -> None:
        """Write an event, and tell it."""
        self._log.append(kind, **fields)
        self._tell({"event": kind, "time": time.time(), **fields})

    def enter(self, phase: str, *, may_use_reserve: bool = False) -> None:
        """Another phase begins, under its own limits."""
        self._phase = phase
        self._limits = self._whole if may_use_reserve else self._whole.without_reserve()
        self._reached = None
        self._looked_at = float("-inf")

    @property
    def limits(self) -> Limits:
        """Of this phase."""
        return self._limits

    @property
    def reached(self) -> str | None:
        """The limit that ended this phase."""
        return self._reached

    def spending(self) -> Spending:
        """Until now."""
        return self._accounts.spending(running=self._running)

    def should_stop(self) -> bool:
        """Whether this phase has used up what it may; once it has, always."""
        if self._reached is None and self._clock() - self._looked_at >= _LOOK_INTERVAL_S:
            self.look()
        return self._reached is not None

    def look(self) -> None:
        """Look at the books now."""
        if self._reached is not None:
            return
        now = self._clock()
        self._looked_at = now
        spending = self.spending()
        if now - self._told_at >= _BUDGET_INTERVAL_S:
            self._told_at = now
            self.say(
                "budget",
                spent_s=round(spending.accelerator_s, 1),
                limit_s=self._whole.accelerator_s,
                phase=self._phase,
            )
        self._reached = self._limits.reached(
            accelerator_s=spending.accelerator_s, wall_clock_s=spending.wall_clock_s
        )
        if self._reached is not None:
            self.say("stopped", limit=self._reached)

    def started(self, run: SweepRun) -> None:
        """A run has been given its place."""
        self._running.add(run.run_id)
        self.say(
            "run_started",
            run_id=run.run_id,
            label=run.setting.label,
            numerics=run.setting.numerics,
            seed=run.seed,
            purpose=run.purpose.value,
        )

    def ended(self, run: SweepRun, outcome: RunEvidence) -> None:
        """A run is over."""
        self._running.discard(run.run_id)
        self.say(
            "run_ended",
            run_id=run.run_id,
            status=outcome.status.value,
            reason=outcome.reason,
            metric=outcome.metric,
            accelerator_s=round(outcome.accelerator_s, 2),
        )
