"""A running sweep on a terminal: lines scroll, and below them progress, runs and the front."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raymi.sweep.view.live import SweepProgress, format_eta
from raymi.sweep.view.progress import SweepState

_BAR_WIDTH = 40
_MAX_ROWS = 12
"""Of the front, so that it fits a small window."""

_SAID_BELOW = ("front", "budget")
"""Events whose news the panel shows; as lines they would scroll away what matters."""


class SweepScreen:
    """Shows one sweep until it has decided."""

    def __init__(self, name: str, console: Console) -> None:
        """Begin with nothing known.

        Args:
            name: Of the sweep.
            console: A terminal.
        """
        self._name = name
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._progress = SweepProgress(self._print)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    @property
    def is_over(self) -> bool:
        """Whether the sweep has decided."""
        return self._progress.state.is_decided

    def take(self, event: dict[str, Any]) -> None:
        """Show one more event."""
        if event["event"] in _SAID_BELOW:
            self._progress.line(event)
        else:
            self._progress(event)
        self.refresh()

    def refresh(self) -> None:
        """Draw the panel again: time goes by."""
        panel = sweep_panel(self._name, self._progress.state, now=time.time())
        self._live.update(panel, refresh=True)

    def _print(self, line: str) -> None:
        self._live.console.print(line, highlight=False, markup=False)


def sweep_panel(name: str, state: SweepState, *, now: float) -> RenderableType:
    """What is known of a sweep at one moment."""
    parts: list[RenderableType] = [Text(), _headline(name, state)]
    if state.num_runs:
        parts.append(_bar(state.num_done, state.num_runs, format_eta(state, now)))
    if state.spent_s is not None and state.limit_s:
        spent = f"{state.spent_s:,.0f} of {state.limit_s:,.0f} accelerator-s"
        parts.append(_bar(state.spent_s, state.limit_s, spent))
    parts += [
        Text(f"  running: {run.get('label')}, seed {run.get('seed')}", style="dim")
        for run in state.running.values()
    ]
    if state.front:
        parts += [Text(), _front(state)]
    return Group(*parts)


def _headline(name: str, state: SweepState) -> Text:
    text = Text(name, style="bold")
    text.append(f"  {state.phase}", style="green" if state.is_decided else "cyan")
    if state.stopped_by:
        text.append(f"  {state.stopped_by} is used up", style="yellow")
    return text


def _bar(done: float, total: float, text: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_row(ProgressBar(total=total, completed=min(done, total), width=_BAR_WIDTH), text)
    return grid


def _front(state: SweepState) -> RenderableType:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("the front so far", overflow="fold")
    for header in ("samples/s", "quality", "GiB"):
        table.add_column(header, justify="right")
    for row in state.front[:_MAX_ROWS]:
        is_winner = row.get("setting") == state.winner and state.winner is not None
        table.add_row(
            escape(f"{'* ' if is_winner else ''}{row.get('label')}"),
            _number(row.get("samples_per_s"), ",.0f"),
            _number(row.get("quality"), ".4f"),
            _number(row.get("peak_memory_gib"), ".2f"),
            style="green" if is_winner else None,
        )
    if len(state.front) > _MAX_ROWS:
        table.add_row(f"and {len(state.front) - _MAX_ROWS} more", style="dim")
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
