"""`raymi bench serve`: requests a second beside other people's servers."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raymi.cli.output import Json, print_json, print_line, print_table

if TYPE_CHECKING:
    from raymi.bench.serving.speed import ServeSpeed

_HIDDEN = [1024, 1024, 1024]


def serve(
    *,
    rounds: Annotated[int, typer.Option(min=2, help="Turns of each server.")] = 5,
    window_s: Annotated[float, typer.Option(min=0.5, help="Seconds of a turn.")] = 5.0,
    connections: Annotated[int, typer.Option(min=1, help="Requests under way at once.")] = 32,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Server processes of each; one for each core.")
    ] = None,
    hidden: Annotated[
        list[int], typer.Option(min=1, help="Width of a layer of the model; once for each.")
    ] = _HIDDEN,
    peers: Annotated[
        Path | None, typer.Option(help="Python of the environment with the other servers.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Requests/s of Raymi, stock Ray Serve, FastAPI, LitServe and BentoML; same model and rows."""
    from raymi.bench.serving.model import make_model
    from raymi.bench.serving.servers import Stage
    from raymi.bench.serving.speed import Request, default_peers, measure, require_peers

    python = peers or default_peers(Path(sys.prefix))
    require_peers(python)
    with (
        tempfile.TemporaryDirectory(prefix="raymi-bench-") as directory,
        contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout),
    ):
        logs = Path(directory, "logs")
        logs.mkdir()
        stage = Stage(
            model=make_model(Path(directory, "home"), tuple(hidden)),
            peers_python=python,
            num_processes=processes or os.cpu_count() or 1,
            logs=logs,
        )
        request = Request(stage, num_rounds=rounds, window_s=window_s, num_connections=connections)
        speed = measure(request, say=print_line)
    if as_json:
        print_json(speed.to_document())
        return
    _print(speed)


def _print(speed: ServeSpeed) -> None:
    from raymi.bench.serving.speed import BARS, BINARY_BAR

    document = speed.to_document()
    print_line()
    rows = []
    for name, rate in document["requests_per_s"].items():
        ratio = speed.ratios.get(name)
        said, interval, claimed = "", "", ""
        if ratio is not None:
            said, interval = f"{ratio.median:.2f}x", f"{ratio.low:.2f} to {ratio.high:.2f}"
            claimed = f"{BARS[name]:g}x: {'yes' if ratio.median >= BARS[name] else 'no'}"
        p99_ms = f"{document['p99_ms'][name]:.1f}"
        rows.append((name, f"{rate:.0f}", p99_ms, said, interval, claimed))
    print_table(
        ("server", "requests/s", "p99 ms", "Raymi is", "95% interval", "claimed"),
        sorted(rows, key=lambda row: document["requests_per_s"][row[0]]),
    )
    if (binary := speed.binary_ratio) is not None:
        print_line(
            f"64-row binary requests: {binary.median:.3f} ({binary.low:.3f} to {binary.high:.3f}) "
            f"of the rows/s of the bare model; {BINARY_BAR:g} is claimed: "
            f"{'yes' if binary.median >= BINARY_BAR else 'no'}"
        )
