"""Commands about sweeps: list them, watch one while it runs."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from raymi.cli.output import Json, print_json, print_line, print_table
from raymi.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from raymi.sweep.view.progress import SweepState

_POLL_INTERVAL_S = 0.3
_SILENCE_S = 10.0
"""A driver at work is heard of more often; after so long, look whether there is one."""

Which = Annotated[
    str | None, typer.Argument(metavar="[SWEEP_ID|PATH]", help="Default: the newest one.")
]
RawEvents = Annotated[
    bool, typer.Option("--json", help="Print the events as they are, one a line.")
]
Once = Annotated[
    bool, typer.Option("--once", help="Say what has happened so far, and do not wait for more.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    sweep = typer.Typer(no_args_is_help=True, help="List sweeps, and watch one while it runs.")
    sweep.command("list")(list_sweeps)
    sweep.command()(watch)
    app.add_typer(sweep, name="sweep", rich_help_panel="Sweeps")


def list_sweeps(*, as_json: Json = False) -> None:
    """List sweeps, the newest last: how far each is, and what it decided."""
    facts = [_facts(directory) for directory in _sweeps()]
    if as_json:
        print_json(facts)
    elif facts:
        print_table(
            ("sweep", "began (UTC)", "state", "settings", "accelerator-s", "winner"),
            [
                (
                    fact["sweep_id"],
                    _moment(fact["began_at"]),
                    fact["state"],
                    fact["num_settings"],
                    None if fact["spent_s"] is None else round(fact["spent_s"]),
                    fact["winner_label"],
                )
                for fact in facts
            ],
        )
    else:
        print_line("no sweeps yet; start one: python jobs/sweep.py jobs/digits/sweep.yaml")


def watch(which: Which = None, *, as_json: RawEvents = False, once: Once = False) -> None:
    """Follow a sweep until it has decided: progress, time to go, and the front so far."""
    directory = _find(which)
    if as_json:
        _follow(directory, _RawEvents(), once=once)
        return
    from rich.console import Console

    console = Console()
    if once or not console.is_terminal:
        _follow(directory, _Lines(), once=once)
        return
    from raymi.cli.sweep_screen import SweepScreen

    with SweepScreen(directory.name, console) as screen:
        _follow(directory, screen, once=False)


class _Audience(Protocol):
    """Whoever is told what happens."""

    @property
    def is_over(self) -> bool:
        """Whether the sweep has decided."""

    def take(self, event: dict[str, Any]) -> None:
        """One more event."""

    def refresh(self) -> None:
        """Time goes by without any."""


class _RawEvents:
    """Events for programs."""

    def __init__(self) -> None:
        self._last = ""

    @property
    def is_over(self) -> bool:
        """Whether the sweep has decided."""
        return self._last == "decided"

    def take(self, event: dict[str, Any]) -> None:
        """Print it as it was written, in one line."""
        print_line(json.dumps(event))
        self._last = event["event"]

    def refresh(self) -> None:
        """Nothing changes between events."""


class _Lines:
    """Events for people who keep a log."""

    def __init__(self) -> None:
        from raymi.sweep.view.live import SweepProgress

        self._progress = SweepProgress(print_line)

    @property
    def is_over(self) -> bool:
        """Whether the sweep has decided."""
        return self._progress.state.is_decided

    def take(self, event: dict[str, Any]) -> None:
        """Print what it says."""
        self._progress(event)

    def refresh(self) -> None:
        """Nothing changes between events."""


def _follow(directory: Path, audience: _Audience, *, once: bool) -> None:
    """Hand every event to the audience until the sweep is over."""
    from raymi.sweep.workspace import has_driver
    from raymi.train.events import EVENTS_FILE, EventReader

    reader = EventReader(directory / EVENTS_FILE)
    heard_at = time.monotonic()
    while True:
        events = list(reader.new_events())
        for event in events:
            audience.take(event)
        if audience.is_over or once:
            return
        if events:
            heard_at = time.monotonic()
        elif time.monotonic() - heard_at >= _SILENCE_S and not has_driver(directory):
            raise ConflictError(
                f"sweep {directory.name} was interrupted",
                why="nobody is at work on it, and it has not decided",
                fix="start it again with the same command: it goes on where it was",
            )
        audience.refresh()
        time.sleep(_POLL_INTERVAL_S)


def _sweeps() -> list[Path]:
    """Directories of sweeps that have written an event, the oldest first."""
    from raymi.settings import settings
    from raymi.sweep.workspace import SWEEPS
    from raymi.train.events import EVENTS_FILE

    logs = (settings().store_dir / SWEEPS).glob(f"*/{EVENTS_FILE}")
    return sorted((log.parent for log in logs), key=lambda path: (_began_at(path), path.name))


def _began_at(directory: Path) -> float:
    return _state(directory).began_at or 0.0


def _find(which: str | None) -> Path:
    """The directory of a sweep.

    Raises:
        NotFoundError: There is no such sweep.
    """
    from raymi.train.events import EVENTS_FILE

    if which is not None and (Path(which) / EVENTS_FILE).is_file():
        return Path(which).resolve()
    sweeps = _sweeps()
    found = [path for path in sweeps if which is None or path.name == which]
    if found:
        return found[-1]
    raise NotFoundError(
        f"no sweep {which}" if which else "no sweeps yet",
        why=f"{len(sweeps)} sweeps are in this store" if which else "none was started here",
        fix="`raymi sweep list` shows what there is"
        if sweeps
        else "start one: python jobs/sweep.py jobs/digits/sweep.yaml",
    )


def _state(directory: Path) -> SweepState:
    from raymi.sweep.view.progress import SweepState, advance
    from raymi.train.events import EVENTS_FILE, read_events

    state = SweepState()
    for event in read_events(directory / EVENTS_FILE):
        state = advance(state, event)
    return state


def _facts(directory: Path) -> dict[str, Any]:
    state = _state(directory)
    return {
        "sweep_id": directory.name,
        "path": str(directory),
        "began_at": state.began_at,
        "state": state.phase,
        "num_settings": state.num_settings,
        "num_runs_done": state.num_done,
        "num_runs_planned": state.num_runs,
        "spent_s": state.spent_s,
        "limit_s": state.limit_s,
        "winner": state.winner,
        "winner_label": state.label_of(state.winner),
        "sentence": state.sentence,
    }


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
