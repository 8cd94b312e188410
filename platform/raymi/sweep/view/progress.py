"""How far a sweep is, and how long it will take, from the events that it writes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from raymi.train.events import Event

Row = dict[str, Any]
"""Of a front: `setting`, `label`, `samples_per_s`, `quality`, `peak_memory_gib`."""


@dataclass(frozen=True, slots=True)
class Planned:
    """Training runs of one phase."""

    phase: str
    """`quality` or `confirmation`."""

    num_runs: int

    expected_s: float
    """Seconds by the clock for all of them, as foreseen before the first."""

    began_at: float | None = None
    """Unix seconds of the first start; None: not yet."""

    num_done: int = 0
    """Ended, whichever way."""

    last_end_at: float | None = None
    """Unix seconds."""

    @property
    def is_done(self) -> bool:
        """Whether every run has ended."""
        return self.num_done >= self.num_runs

    def remaining_s(self, now: float) -> float:
        """Seconds until its last run will have ended.

        What was foreseen counts as much as one run; the rest is what runs really took, so that
        a wrong forecast is forgotten after a few of them.

        Args:
            now: Unix seconds.
        """
        if self.is_done:
            return 0.0
        if self.began_at is None:
            return self.expected_s
        foreseen_s = self.expected_s / max(1, self.num_runs)
        took_s = 0.0 if self.last_end_at is None else self.last_end_at - self.began_at
        each_s = (foreseen_s + took_s) / (1 + self.num_done)
        return max(0.0, each_s * self.num_runs - (now - self.began_at))


@dataclass(frozen=True, slots=True)
class SweepState:
    """What the events until now say."""

    phase: str = "starting"
    """`starting`, `probe`, `quality`, `confirmation` or `decided`."""

    began_at: float | None = None
    """Unix seconds of the first event."""

    num_settings: int | None = None
    noise_floor: float | None = None
    front: tuple[Row, ...] = ()
    """The newest one, as it was written."""

    planned: tuple[Planned, ...] = ()
    """In the order they were announced; a phase may be planned again, for another candidate."""

    running: dict[str, Event] = field(default_factory=dict)
    """Run -> how it was started."""

    spent_s: float | None = None
    """Accelerator-seconds."""

    limit_s: float | None = None
    stopped_by: str | None = None
    """The limit that ended a phase early."""

    winner: int | None = None
    sentence: str | None = None
    """Why the winner won, or why nobody did; None: not decided."""

    @property
    def is_decided(self) -> bool:
        """Whether nothing more will happen."""
        return self.sentence is not None

    @property
    def num_done(self) -> int:
        """Runs that have ended."""
        return sum(planned.num_done for planned in self.planned)

    @property
    def num_runs(self) -> int:
        """Runs that were planned."""
        return sum(max(planned.num_runs, planned.num_done) for planned in self.planned)

    def label_of(self, setting: int | None) -> str | None:
        """The name of a setting, as the newest front has it."""
        names = {row.get("setting"): str(row.get("label")) for row in self.front}
        return None if setting is None else names.get(setting, f"setting {setting}")

    def eta_s(self, now: float) -> float | None:
        """Seconds until all runs planned so far have ended; None: none are, or all have.

        Args:
            now: Unix seconds.
        """
        left = [planned for planned in self.planned if not planned.is_done]
        if not left or self.is_decided:
            return None
        return sum(planned.remaining_s(now) for planned in left)


def advance(state: SweepState, event: Event) -> SweepState:
    """The state after one more event; one that is not a sweep's changes nothing."""
    if state.began_at is None:
        state = replace(state, began_at=event.get("time"))
    match event["event"]:
        case "sweep_started":
            # Another driver takes it up where the last one was killed, with all its runs.
            return replace(
                state,
                phase="starting",
                num_settings=event.get("num_settings"),
                planned=(),
                running={},
                stopped_by=None,
                winner=None,
                sentence=None,
            )
        case "probe_started":
            return replace(state, phase="probe", num_settings=event.get("num_settings"))
        case "probe_ended":
            return replace(state, noise_floor=event.get("noise_floor"))
        case "front":
            return replace(state, front=tuple(event["rows"]))
        case "planned":
            return _plan(state, event)
        case "run_started":
            return _start(state, event)
        case "run_ended":
            return _end(state, event)
        case "budget":
            return replace(state, spent_s=event["spent_s"], limit_s=event.get("limit_s"))
        case "stopped":
            return replace(state, stopped_by=event["limit"])
        case "decided":
            return replace(
                state,
                phase="decided",
                winner=event.get("winner"),
                sentence=event["sentence"],
                running={},
            )
    return state


def _plan(state: SweepState, event: Event) -> SweepState:
    """Runs that an earlier plan has not had by now will not come any more."""
    new = Planned(event["phase"], event["runs"], event.get("expected_s") or 0.0)
    earlier = tuple(
        planned if planned.began_at is None else replace(planned, num_runs=planned.num_done)
        for planned in state.planned
    )
    return replace(state, phase=new.phase, planned=(*earlier, new))


def _start(state: SweepState, event: Event) -> SweepState:
    purpose, time = event["purpose"], event.get("time")
    began = replace(state, phase=purpose, running={**state.running, event["run_id"]: event})
    newest = _newest(state, purpose)
    if newest is None or newest.began_at is not None:
        return began
    return _with(began, newest, replace(newest, began_at=time))


def _end(state: SweepState, event: Event) -> SweepState:
    started = state.running.get(event["run_id"], {})
    ended = replace(
        state,
        running={name: run for name, run in state.running.items() if name != event["run_id"]},
    )
    newest = _newest(state, started.get("purpose", state.phase))
    if newest is None:
        return ended
    counted = replace(newest, num_done=newest.num_done + 1, last_end_at=event.get("time"))
    return _with(ended, newest, counted)


def _newest(state: SweepState, phase: str) -> Planned | None:
    return next((one for one in reversed(state.planned) if one.phase == phase), None)


def _with(state: SweepState, old: Planned, new: Planned) -> SweepState:
    return replace(state, planned=tuple(new if one is old else one for one in state.planned))
