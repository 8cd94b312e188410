"""A running probe as lines of text, with how long its rounds will take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby

from raymi.sweep.probe import journal
from raymi.sweep.probe.plan import ProbePlan
from raymi.train.events import Event
from raymi.train.follow import format_seconds

_LEFT_OUT = (journal.FAILED, journal.GIVEN_UP)
_INTERVAL_S = 2.0
"""Between two lines about rounds: short ones would flood a log."""


class ProbeProgress:
    """Turns the journal into lines, as it grows."""

    def __init__(
        self, plan: ProbePlan, say: Callable[[str], None], *, earlier: Iterable[Event] = ()
    ) -> None:
        """Begin.

        Args:
            plan: What is measured.
            say: Receives each line.
            earlier: What is in the journal already, and was told by others.
        """
        self._plan = plan
        self._say = say
        self._out: set[int] = set()
        self._round_at: float | None = None
        self._told_at = float("-inf")
        for event in earlier:
            if event["event"] in _LEFT_OUT:
                self._out.add(event["setting"])
            self._line(event)
        self._round_at = None

    def all_of(self, events: Iterable[Event]) -> None:
        """Tell what is new; settings that are left out together are told together."""
        for why, together in groupby(events, key=_why_left_out):
            if why is not None:
                out = [self._plan.setting(event["setting"]) for event in together]
                self._out.update(setting.index for setting in out)
                who = out[0].label if len(out) == 1 else f"{len(out)} settings"
                self._say(f"probe: {who}: {why}")
                continue
            for event in together:
                if (line := self._line(event)) is not None:
                    self._say(f"probe: {line}")

    def _line(self, event: Event) -> str | None:
        match event["event"]:
            case journal.READY:
                return f"{_count(event['num_workers'], 'worker')} ready"
            case journal.MEMORY if event["record"]["duration_s"] > 0.0:
                return self._memory(event)
            case journal.WINDOW if self._round_at is None:
                self._round_at = event["time"] - event["record"]["duration_s"]
            case journal.ROUND:
                self._out.update(event["dropped"])
                return self._round(event)
        return None

    def _memory(self, event: Event) -> str:
        record = event["record"]
        setting = self._plan.setting(record["setting"])
        peak = record["peak_gib"]
        found = "does not fit" if peak is None else f"{peak:.2f} GiB"
        return f"{setting.precision.value}, micro-batch {setting.micro_batch_size}: {found}"

    def _round(self, event: Event) -> str | None:
        now, began_at = event["time"], self._round_at
        self._round_at = now
        num_done, num_rounds = event["round"] + 1, self._plan.spec.rounds
        is_last = num_done == num_rounds
        if began_at is None or (now - self._told_at < _INTERVAL_S and not is_last):
            return None
        self._told_at = now
        num_racing = len(self._plan.settings) - len(self._out)
        # At most so long: rounds get shorter as settings leave the race, and may end early.
        left_s = (now - began_at) * (num_rounds - num_done)
        eta = f", about {format_seconds(left_s)} left"
        return (
            f"round {num_done} of at most {num_rounds}, {_count(num_racing, 'setting')}"
            f"{'' if is_last else eta}"
        )


def _why_left_out(event: Event) -> str | None:
    return str(event["why"]) if event["event"] in _LEFT_OUT else None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
