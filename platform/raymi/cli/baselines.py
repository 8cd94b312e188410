"""Commands about golden loss curves: keep a run's as the baseline, compare a run with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raymi.cli.output import Json, print_json, print_line, print_table
from raymi.errors import NotFoundError

if TYPE_CHECKING:
    from raymi.train.baseline import Baseline, Difference

RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="As the run printed it.")]
Folder = Annotated[
    Path | None,
    typer.Option("--problem", metavar="DIR", help="Such as jobs/digits; unset: the run's own."),
]

app = typer.Typer(help="Golden loss curves, one for each problem and kind of hardware.")


def register(root: typer.Typer) -> None:
    """Add the commands to the command line."""
    root.add_typer(app, name="baseline", rich_help_panel="Measurements")


@app.callback()
def baseline() -> None:
    """Golden loss curves, one for each problem and kind of hardware."""


@app.command()
def record(
    run_id: RunId,
    problem: Folder = None,
    *,
    relative: Annotated[
        float | None, typer.Option(min=0.0, help="Tolerance, as a share of each value.")
    ] = None,
    absolute: Annotated[
        float | None, typer.Option(min=0.0, help="Tolerance, in each value's own unit.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why that tolerance.")] = None,
) -> None:
    """Keep a run's loss curve as the baseline of its problem on its hardware."""
    from raymi.train.baseline import TOLERANCE, record_baseline

    wanted = {"relative": relative, "absolute": absolute, "reason": reason}
    tolerance = TOLERANCE.model_copy(
        update={name: value for name, value in wanted.items() if value is not None}
    )
    found = record_baseline(_run_dir(run_id), tolerance=tolerance)
    path = _path(found, problem)
    path.parent.mkdir(exist_ok=True)
    found.save(path)
    print_line(f"wrote {path}: {len(found.curve)} epochs of {found.problem}")


@app.command()
def check(run_id: RunId, problem: Folder = None, *, as_json: Json = False) -> None:
    """Compare a run's loss curve with its problem's baseline; exit 1 if it is another."""
    from raymi.train.baseline import Baseline, compare, record_baseline, require_comparable

    found = record_baseline(_run_dir(run_id))
    path = _path(found, problem)
    if not path.is_file():
        raise NotFoundError(
            f"{found.problem}: no baseline for {found.accelerator}",
            why=f"{path} does not exist",
            fix=f"if this run is as it should be: raymi baseline record {run_id}",
        )
    kept = Baseline.load(path)
    require_comparable(kept, found)
    differences = compare(kept, found)
    if as_json:
        print_json([difference.model_dump(mode="json") for difference in differences])
    else:
        _print(kept, found, differences)
    if differences:
        raise typer.Exit(1)


def _print(kept: Baseline, found: Baseline, differences: tuple[Difference, ...]) -> None:
    if not differences:
        print_line(
            f"{found.problem} on {found.accelerator}: all {len(kept.curve)} epochs are as "
            f"recorded on {kept.recorded_on}"
        )
        return
    print_table(
        ("epoch", "what", "baseline", "this run", "may differ by"),
        [
            (d.epoch, d.quantity, _text(d.expected), _text(d.found), _text(d.allowed))
            for d in differences
        ],
    )
    print_line(f"why that much: {kept.tolerance.reason}")
    if kept.torch != found.torch:
        print_line(f"not the same either: torch {kept.torch} then, {found.torch} now")


def _text(value: float | None) -> str:
    return "none" if value is None else f"{value:.5g}"


def _run_dir(run_id: str) -> Path:
    from raymi.settings import settings

    return settings().store_dir / "runs" / run_id


def _path(found: Baseline, problem: Path | None) -> Path:
    """Where the baseline is kept.

    Raises:
        NotFoundError: The problem's directory is not here.
    """
    from raymi.train.baseline import BASELINES

    # `jobs.digits.problem` is in jobs/digits, seen from where jobs are submitted.
    folder = problem or Path(*found.problem.split(".")[:-1])
    if not (folder / "train.yaml").is_file():
        raise NotFoundError(
            f"{folder}: not a problem's directory",
            why=f"{folder / 'train.yaml'} does not exist",
            fix="run this from where `jobs/` is, or pass --problem DIR",
        )
    return folder / BASELINES / f"{found.accelerator}.json"
