"""The trial table, as text for terminals and logs."""

from __future__ import annotations

from collections.abc import Sequence

from raymi.sweep.result import SweepResult
from raymi.sweep.trial import Trial

_HEADERS = ("", "precision", "micro-batch", "quality", "samples/s", "GiB", "status", "")


def format_table(result: SweepResult) -> str:
    """Every trial with its verdict, and the sentence that says why the winner won."""
    swept = [path for path in result.spec["space"] if path not in _SHOWN]
    headers = [*_HEADERS[:3], *(path.rpartition(".")[2] for path in swept), *_HEADERS[3:]]
    rows = [
        _row(trial, swept, why=verdict.why, is_winner=trial.index == result.decision.winner)
        for trial, verdict in zip(result.trials, result.decision.verdicts, strict=True)
    ]
    return f"{align(headers, rows)}\n{result.decision.sentence}"


_SHOWN = ("precision", "batch.micro_batch_size")


def _row(trial: Trial, swept: Sequence[str], *, why: str, is_winner: bool) -> list[str]:
    result = trial.result
    return [
        "*" if is_winner else "",
        trial.precision.value,
        str(trial.micro_batch_size),
        *(str(trial.point[path]) for path in swept),
        f"{trial.quality:.4f}" if trial.quality is not None else "-",
        f"{result.samples_per_s:,.0f}" if result else "-",
        f"{result.peak_memory_gib:.2f}" if result else "-",
        trial.status.value,
        why,
    ]


def align(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell; numbers to the right."""
    lines = [list(headers), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    numeric = [all(_is_number(row[column]) for row in rows) for column in range(len(headers))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.translate(str.maketrans("", "", ",.-")).isdigit()
