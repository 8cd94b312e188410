"""A running sweep as lines of text, with how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from raymi.sweep.decision.words import quality_text
from raymi.sweep.view.columns import ABSENT, Column, text_table
from raymi.sweep.view.progress import Row, SweepState, advance
from raymi.train.events import Event
from raymi.train.follow import format_seconds

_BUDGET_INTERVAL_S = 30.0
"""Between two lines about the budget: its events come every few seconds."""

_ENDINGS = {"SUCCEEDED": "done", "STOPPED": "stopped", "FAILED": "failed"}


class SweepProgress:
    """Turns the events of one sweep into lines, as they come."""

    def __init__(
        self, say: Callable[[str], None], *, clock: Callable[[], float] = time.time
    ) -> None:
        """Begin with nothing known.

        Args:
            say: Receives each line.
            clock: Unix seconds, as in the events.
        """
        self._say = say
        self._clock = clock
        self._state = SweepState()
        self._budget_shown_at = float("-inf")

    @property
    def state(self) -> SweepState:
        """What is known by now."""
        return self._state

    def __call__(self, event: Event) -> None:
        """Take one more event, and say what it means."""
        for line in (self.line(event) or "").splitlines():
            self._say(line)

    def line(self, event: Event) -> str | None:
        """Take one more event; its line, several for a front, or None if it needs none."""
        label = self._state.running.get(event.get("run_id", ""), {})
        self._state = advance(self._state, event)
        now = event.get("time", self._clock())
        if event["event"] == "budget":
            if now - self._budget_shown_at < _BUDGET_INTERVAL_S:
                return None
            self._budget_shown_at = now
        text = format_sweep_event({**_named(label), **event})
        if text is None or event["event"] not in ("run_ended", "budget"):
            return text
        return ", ".join(part for part in (text, format_eta(self._state, now)) if part)


def _named(started: Event) -> Event:
    """What a run's end does not repeat of its start."""
    return {key: started[key] for key in ("label", "seed", "purpose") if key in started}


def format_eta(state: SweepState, now: float) -> str:
    """`4 of 9 runs, about 2m05s left`; empty while no runs are planned."""
    eta_s = state.eta_s(now)
    if eta_s is None:
        return ""
    return f"{state.num_done} of {state.num_runs} runs, about {format_seconds(eta_s)} left"


def format_sweep_event(event: Event) -> str | None:
    """What one event of a sweep says, for people; None for events that are not a sweep's."""
    match event["event"]:
        case "sweep_started":
            goes_on = "going on: " if event.get("is_continued") else ""
            return (
                f"{goes_on}{_count(event['num_settings'], 'setting')}, "
                f"{_count(event['num_numerics'], 'way')} to compute{_budget(event.get('budget'))}"
            )
        case "probe_started":
            return f"probing {_count(event['num_settings'], 'setting')}"
        case "probe_ended":
            return f"probed in {format_seconds(event['seconds'])}{_noise(event['noise_floor'])}"
        case "front":
            return format_front_rows(event["rows"])
        case "planned":
            expected = event.get("expected_s")
            about = f", about {format_seconds(expected)}" if expected else ""
            return f"{event['phase']}: {_count(event['runs'], 'run')} to do{about}"
        case "run_started":
            return f"{_run(event)}: started"
        case "run_ended":
            return f"{_run(event)}: {_ending(event)}"
        case "budget":
            return f"{event['phase']}: {_spent(event['spent_s'], event.get('limit_s'))}"
        case "stopped":
            return f"{event['limit']} is used up: no more runs of this phase"
        case "decided":
            return str(event["sentence"])
    return None


def format_front_rows(rows: Sequence[Row]) -> str:
    """The settings that nothing beats in every respect, as a table."""
    if not rows:
        return "the front is empty"
    return text_table(
        [
            Column("samples/s", [_number(row, "samples_per_s", ",.0f") for row in rows]),
            Column("quality", [_quality(row) for row in rows]),
            Column("GiB", [_number(row, "peak_memory_gib", ".2f") for row in rows]),
            Column("on the front", [str(row["label"]) for row in rows]),
        ]
    )


def _number(row: Row, name: str, form: str) -> str:
    value = row.get(name)
    return ABSENT if value is None else format(value, form)


def _quality(row: Row) -> str:
    value = row.get("quality")
    return ABSENT if value is None else quality_text(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _run(event: Event) -> str:
    """The setting and seed of a run where they are known; else its name."""
    label = event.get("label")
    if not label:
        return str(event["run_id"])
    fresh = "fresh " if event.get("purpose") == "confirmation" else ""
    return f"{label}, {fresh}seed {event.get('seed')}"


def _ending(event: Event) -> str:
    metric = event.get("metric")
    parts = [
        _ENDINGS.get(event["status"], str(event["status"])),
        f"({event['reason']})" if event.get("reason") else "",
        f"with {quality_text(metric)}" if metric is not None else "",
        f"after {event['accelerator_s']:,.0f} accelerator-s",
    ]
    return " ".join(part for part in parts if part)


def _spent(spent_s: float, limit_s: float | None) -> str:
    if limit_s is None:
        return f"{spent_s:,.0f} accelerator-s spent"
    return f"{spent_s:,.0f} of {limit_s:,.0f} accelerator-s spent ({spent_s / limit_s:.0%})"


def _noise(floor: float | None) -> str:
    return "" if floor is None else f": speeds closer than {floor:.1%} are equal"


def _budget(budget: dict[str, Any] | None) -> str:
    """Limits of a spec's budget; nothing where there are none."""
    limits = budget or {}
    parts = []
    if limits.get("accelerator_s"):
        parts.append(f"{limits['accelerator_s']:,.0f} accelerator-s")
    if limits.get("money"):
        parts.append(f"{limits['money']:,.2f} of money")
    if limits.get("wall_clock_s"):
        parts.append(f"{format_seconds(limits['wall_clock_s'])} by the clock")
    return f", budget {' and '.join(parts)}" if parts else ", no budget"
