"""How things look in a terminal: tables for people, JSON for programs, errors for both."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from raymi.errors import RaymiError

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
"""The `--json` flag every command that prints facts takes."""

_PIPE_WIDTH = 240


def print_json(document: Any) -> None:
    """Print one JSON document, and nothing else, on standard output."""
    typer.echo(json.dumps(document, indent=2, default=str))


def print_line(text: str = "") -> None:
    """Print one line on standard output, as it is."""
    typer.echo(text)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headers; numbers to the right."""
    rows = [list(row) for row in rows]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for index, header in enumerate(headers):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        table.add_column(header, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    # Into a pipe or a file, nothing is folded: programs and `less -S` read whole lines.
    console = Console()
    (console if console.is_terminal else Console(width=_PIPE_WIDTH)).print(table)


def print_error(error: RaymiError) -> None:
    """Print what, why and what to try on standard error."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[bold red]error:[/] {escape(error.what)}")
    console.print(f"  [bold]why:[/] {escape(error.why)}")
    console.print(f"  [bold]try:[/] {escape(error.fix)}")
