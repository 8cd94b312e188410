"""The command that takes a model away from the platform, into a directory that runs alone."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raymi.cli.models import Reference
from raymi.cli.output import Json, print_json, print_line

if TYPE_CHECKING:
    from raymi.serve.export.parity import ExportParity


class Format(StrEnum):
    """What a model can leave as."""

    ONNX = "onnx"


class Arithmetic(StrEnum):
    """What it computes in there."""

    FP32 = "fp32"
    INT8 = "int8"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(rich_help_panel="Models")(export)


def export(
    reference: Reference,
    file_format: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.ONNX,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A new directory; default: NAME-VERSION-onnx-PRECISION."),
    ] = None,
    precision: Annotated[
        Arithmetic, typer.Option(help="int8 is smaller, faster and an approximation.")
    ] = Arithmetic.FP32,
    *,
    as_json: Json = False,
) -> None:
    """Write a model as a directory that predicts without Ray or torch, and compare its answers."""
    from raymi.registry.bundle import load_bundle
    from raymi.registry.store import open_store
    from raymi.serve.export.onnx_directory import export_onnx
    from raymi.settings import settings
    from raymi.specs.backend import ServingPrecision

    version = open_store().resolve(reference)
    default = f"{version.name}-{version.version}-{file_format}-{precision}"
    directory = output or Path(default)
    parity = export_onnx(
        load_bundle(Path(version.path), fingerprint=version.fingerprint),
        version.reference,
        directory,
        precision=ServingPrecision(precision.value),
        store_dir=settings().store_dir,
    )
    if as_json:
        print_json({"directory": str(directory.resolve()), **parity.model_dump(mode="json")})
    else:
        _print(directory, parity)


def _print(directory: Path, parity: ExportParity) -> None:
    print_line(f"{parity.model} is in {directory}")
    print_line(f"compared with the registered model: {parity.sentence}")
    if parity.as_evaluated.reference.value != parity.exact.reference.value:
        print_line(
            f"in {parity.as_evaluated.reference}, as it was evaluated, it differs from that by "
            f"{parity.as_evaluated.max_abs_difference:.2g}"
        )
    print_line("try:")
    print_line(f"  python {directory / 'run.py'} {directory / 'example.json'}")
