"""Assemble the commands; turn errors into three lines and an exit code."""

from __future__ import annotations

import sys

import typer

from raymi.cli import (
    baselines,
    bench,
    cluster,
    data,
    exports,
    models,
    receipts,
    rollouts,
    serving,
    specs,
    sweeps,
    tune_serving,
)
from raymi.cli.output import print_error
from raymi.errors import RaymiError

app = typer.Typer(
    name="raymi",
    help="Train, sweep and serve on Ray: precision and batch size chosen by measurement.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _module in (
    specs,
    data,
    sweeps,
    receipts,
    models,
    exports,
    serving,
    rollouts,
    tune_serving,
    bench,
    baselines,
    cluster,
):
    _module.register(app)


def main() -> None:
    """Run the command line.

    Exit codes: 0 ok, 1 it ran and failed, 2 you asked for something impossible,
    3 a cluster or server did not answer, 130 interrupted.
    """
    try:
        app()
    except RaymiError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted.
        sys.stderr.close()
        sys.exit(0)
