"""Commands about receipts: check one, show one; for a sweep's, without torch, Ray or the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raymi.cli.output import Json, print_json, print_line
from raymi.errors import IntegrityError, NotFoundError, SpecError

if TYPE_CHECKING:
    from raymi.sweep.receipt import Receipt

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="Such as receipt.json in a sweep's directory.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    receipt = typer.Typer(
        no_args_is_help=True, help="Check what a sweep or a tuning claims, and show it."
    )
    receipt.command()(verify)
    receipt.command()(show)
    app.add_typer(receipt, name="receipt", rich_help_panel="Sweeps")


def verify(file: File, *, as_json: Json = False) -> None:
    """Decide once more from the raw numbers; exit code 1 if anything in the receipt differs."""
    from raymi.sweep.receipt import Receipt

    if _is_of_tuning(file):
        differences, facts, said = _verify_tuning(file)
    else:
        differences = _differences(file)
        receipt = Receipt.load_unchecked(file)
        facts, said = _facts(receipt), f"{_outcome(receipt)}; {_extent(receipt)}"
    if as_json:
        print_json({"holds": not differences, "differences": differences, **facts})
    elif differences:
        count = len(differences)
        print_line(f"does not hold: {count} difference{'s' * (count != 1)}")
        for difference in differences:
            print_line(f"  {difference}")
    else:
        print_line(f"holds: {said} checked")
    if differences:
        raise typer.Exit(1)


def show(file: File, *, as_json: Json = False) -> None:
    """Show every setting, who won and why, and what was spent."""
    if _is_of_tuning(file):
        _show_tuning(file, as_json=as_json)
        return
    receipt = _load(file)
    if as_json:
        print_json({**_facts(receipt), "decision": receipt.decision.model_dump(mode="json")})
        return
    from raymi.sweep.view.table import format_decision

    print_line(format_decision(receipt.evidence, receipt.decision))
    print_line(
        f"sweep {receipt.evidence.sweep_id}, decided {receipt.created_at:%Y-%m-%d %H:%M} UTC by "
        f"raymi {receipt.raymi}; sha256 {receipt.sha256[:12]}"
    )


def _is_of_tuning(file: Path) -> bool:
    """Whether `raymi tune-serving` wrote it; nothing else about it is checked."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("kind") == "tune_serving"


def _verify_tuning(file: Path) -> tuple[tuple[str, ...], dict[str, Any], str]:
    """What does not hold, facts for programs, and the same for people."""
    from raymi.serve.tuning.receipt import TuningReceipt

    differences = TuningReceipt.verify(file)
    receipt = TuningReceipt.load_unchecked(file)
    evidence, decision = receipt.evidence, receipt.decision
    facts = {
        "tuning_id": evidence.tuning_id,
        "sha256": receipt.sha256,
        "winner": decision.winner,
        "sentence": decision.sentence,
    }
    num_requests = sum(len(run.latencies_ms) + run.num_failed for run in evidence.runs)
    outcome = decision.sentence.partition(":")[0]
    extent = f"{len(evidence.candidates)} configurations, {num_requests:,} requests"
    return differences, facts, f"{outcome}; {extent}"


def _show_tuning(file: Path, *, as_json: bool) -> None:
    from raymi.cli.tune_serving import print_decision
    from raymi.serve.tuning.receipt import TuningReceipt

    receipt = TuningReceipt.load(file)
    if as_json:
        print_json(receipt.decision.model_dump(mode="json"))
    else:
        print_decision(receipt)


def _differences(file: Path) -> tuple[str, ...]:
    """What does not hold.

    Raises:
        NotFoundError: There is no such file.
        SpecError: It is not a receipt.
    """
    from raymi.sweep.receipt import Receipt

    if not file.is_file():
        raise NotFoundError(
            f"no file {file}",
            why="a receipt is a file that a sweep leaves at its end",
            fix="`raymi sweep list --json` shows where each sweep is; its receipt is receipt.json",
        )
    try:
        return Receipt.verify(file)
    except IntegrityError as error:
        raise SpecError(
            f"{file} is not a receipt",
            why=error.why,
            fix="give the receipt.json of a sweep or a tuning that has ended",
        ) from error


def _load(file: Path) -> Receipt:
    """A receipt that is as it was written.

    Raises:
        NotFoundError: There is no such file.
        SpecError: It is not a receipt.
        IntegrityError: It was changed since it was written.
    """
    from raymi.sweep.receipt import Receipt

    try:
        return Receipt.load(file)
    except (FileNotFoundError, IsADirectoryError, IntegrityError):
        # Says which of the two other errors it is, if it is one.
        _differences(file)
        raise


def _outcome(receipt: Receipt) -> str:
    winner = receipt.decision.winner
    if winner is None:
        return "nobody wins"
    return f"{receipt.evidence.settings[winner].label} wins"


def _extent(receipt: Receipt) -> str:
    facts = _facts(receipt)
    names = {
        "num_settings": "settings",
        "num_windows": "timed windows",
        "num_runs": "runs",
        "num_row_scores": "row scores",
    }
    return ", ".join(f"{facts[key]:,} {name}" for key, name in names.items())


def _facts(receipt: Receipt) -> dict[str, Any]:
    evidence, winner = receipt.evidence, receipt.decision.winner
    scores = [one for run in evidence.runs for one in (run.validation, run.test) if one]
    return {
        "sweep_id": evidence.sweep_id,
        "raymi": receipt.raymi,
        "created_at": receipt.created_at.isoformat(),
        "sha256": receipt.sha256,
        "winner": winner,
        "winner_label": None if winner is None else evidence.settings[winner].label,
        "sentence": receipt.decision.sentence,
        "num_settings": len(evidence.settings),
        "num_windows": len(evidence.probe.windows),
        "num_runs": len(evidence.runs),
        "num_row_scores": sum(len(one.score) for one in scores),
    }
