"""`raymi tune-serving`: find out by measurement how a model is best served."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raymi.cli.output import Json, print_json, print_line, print_table
from raymi.cli.serving import find_cluster
from raymi.cli.targets import Set, read_target

if TYPE_CHECKING:
    from raymi.serve.tuning.receipt import TuningReceipt

_LOOPBACK = "127.0.0.1"
_DEPLOY_FILE = "deploy.yaml"
_PAGE_FILE = "report.html"
_RESULT_FILE = "result.json"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(rich_help_panel="Serving")(tune_serving)


def tune_serving(
    target: Annotated[
        str,
        typer.Argument(metavar="MODEL|FILE", help="NAME@ALIAS, NAME@VERSION, or a spec."),
    ],
    overrides: Set = [],  # noqa: B006 - typer copies it
    p99_ms: Annotated[float | None, typer.Option(help="Objective: p99 in milliseconds.")] = None,
    rate: Annotated[float | None, typer.Option(help="Objective: requests a second.")] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Arrivals as in this CSV file, stretched to the rate.")
    ] = None,
    budget_s: Annotated[float | None, typer.Option(help="Seconds it may take, about.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Where to write the winning deploy spec (YAML).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the cheapest way to serve a model within a latency objective, and write it down.

    Exit code 1 if none is shown to meet it. A tuning that is interrupted, or whose cluster goes
    away, writes down what it has measured.
    """
    from raymi.registry.store import open_store
    from raymi.serve.tuning import stage
    from raymi.specs.tune_serving import TuneServingSpec

    given: dict[str, Any] = {
        "objective.p99_ms": p99_ms,
        "objective.rate_per_s": rate,
        "objective.trace": None if trace is None else trace.resolve(),
        "measurement.budget_s": budget_s,
    }
    options = [f"{path}={value}" for path, value in given.items() if value is not None]
    spec = read_target(
        target,
        [*overrides, *options],
        TuneServingSpec,
        command="tune-serving",
        otherwise="`raymi explain tune_serving` says what belongs there",
    )
    cluster = find_cluster()
    with _interrupted_by_kill():
        tuned = stage.run(
            spec,
            client=cluster.client,
            store=open_store(),
            http_options={"host": _LOOPBACK, "port": cluster.serve_port},
            say=_silent if as_json else print_line,
        )
    directory, receipt = tuned.directory, tuned.receipt
    deploy_file = _write(directory, receipt, output)
    document = _document(directory, receipt, deploy_file)
    if as_json:
        print_json(document)
    else:
        _print(receipt, directory, deploy_file)
    if tuned.ended_by is not None:
        raise tuned.ended_by
    if receipt.decision.winner is None:
        raise typer.Exit(1)


@contextlib.contextmanager
def _interrupted_by_kill() -> Iterator[None]:
    """What is deployed for a measurement is taken away on the way out: let `kill` be one, too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _write(directory: Path, receipt: TuningReceipt, output: Path | None) -> Path | None:
    """The page, the result, and the winning deploy spec."""
    from raymi.serve.tuning.endpoint import deploy_spec
    from raymi.serve.tuning.page import write_page
    from raymi.specs.yaml_text import dump
    from raymi.store.record import write_atomically

    evidence, winner = receipt.evidence, receipt.decision.winner
    text, path = None, None
    if winner is not None:
        spec = deploy_spec(evidence, winner)
        text = dump({"kind": "deploy", **spec.model_dump(mode="json", exclude_defaults=True)})
        path = output or directory / _DEPLOY_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    write_page(receipt, directory / _PAGE_FILE, deploy_yaml=text)
    return path


def _document(directory: Path, receipt: TuningReceipt, deploy_file: Path | None) -> dict[str, Any]:
    from raymi.serve.tuning.words import describe

    evidence, decision = receipt.evidence, receipt.decision
    return {
        "tuning_id": evidence.tuning_id,
        "path": str(directory),
        "model": evidence.model,
        "objective": evidence.spec["objective"],
        "winner": decision.winner,
        "winner_label": None if decision.winner is None else describe(evidence, decision.winner),
        "sentence": decision.sentence,
        "deploy_file": None if deploy_file is None else str(deploy_file),
        "gates": [
            {**evidence.ways[gate.way].model_dump(mode="json"), **gate.model_dump(mode="json")}
            for gate in decision.gates
        ],
        "standings": [
            {
                "label": describe(evidence, one.candidate),
                **evidence.candidates[one.candidate].model_dump(mode="json"),
                **one.model_dump(mode="json"),
            }
            for one in decision.standings
        ],
    }


def print_decision(receipt: TuningReceipt) -> None:
    """Ways to compute, what was put under load, what was not, and the sentence."""
    from raymi.serve.tuning.view import (
        LOAD_COLUMNS,
        WAY_COLUMNS,
        left_out_summary,
        load_rows,
        way_rows,
    )

    evidence, decision = receipt.evidence, receipt.decision
    print_table(WAY_COLUMNS, way_rows(evidence, decision))
    if rows := load_rows(evidence, decision):
        print_line()
        print_table(LOAD_COLUMNS, rows)
        print_line("> wins, * on the frontier of CPUs and p99")
    print_line()
    print_line("not put under load:")
    for line in left_out_summary(evidence, decision):
        print_line(line)
    print_line()
    print_line(decision.sentence)


def _print(receipt: TuningReceipt, directory: Path, deploy_file: Path | None) -> None:
    print_line()
    print_decision(receipt)
    print_line(f"everything is in {directory} ({_PAGE_FILE}, receipt.json)")
    if deploy_file is not None:
        print_line(f"next: raymi deploy {deploy_file}")


def _silent(_: str) -> None:
    """`--json` prints one document and nothing else."""
