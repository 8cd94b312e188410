"""Commands about datasets: import one, list them, look at one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raymi.cli.output import Json, print_json, print_line, print_table
from raymi.specs.data import FileFormat, Split, SplitBy

if TYPE_CHECKING:
    from raymi.data.version import Column, ColumnStatistics, DatasetVersion

_NUM_EXAMPLES = 3
_EXAMPLE_WIDTH = 24
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_PER_DAY = 86_400

FormatOption = Annotated[
    FileFormat | None, typer.Option("--format", help="Default: told from file names.")
]

_WINDOW = "Text only: characters in a row; default: each line is one."
_SPLIT_BY = "Hold rows out by content (the default), or the last ones, by position."
_NULL_VALUE = "Means missing, instead of the usual; repeatable."


def _csv_option(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="Delimited text")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    data = typer.Typer(no_args_is_help=True, help="Import, list and look at datasets.")
    data.command("import")(import_dataset)
    data.command("list")(list_versions)
    data.command()(show)
    app.add_typer(data, name="data", rich_help_panel="Data")


def import_dataset(
    name: Annotated[str, typer.Argument(help="What to call the dataset here.")],
    source: Annotated[Path, typer.Argument(help="A data file, or a directory of data files.")],
    *,
    target: Annotated[str | None, typer.Option(help="The column to predict.")] = None,
    spec: Annotated[
        Path | None, typer.Option(help="A data spec; its paths are relative to SOURCE.")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="A file of test rows.")] = None,
    validation: Annotated[Path | None, typer.Option(help="A file of validation rows.")] = None,
    file_format: FormatOption = None,
    skip_rows: Annotated[int, typer.Option(min=0, help="Lines to drop first.")] = 0,
    window: Annotated[int | None, typer.Option(min=2, help=_WINDOW)] = None,
    split_by: Annotated[SplitBy | None, typer.Option(help=_SPLIT_BY)] = None,
    delimiter: Annotated[str | None, _csv_option("Between fields.")] = None,
    columns: Annotated[str | None, _csv_option("Names, if there is no header: a,b,c")] = None,
    null_value: Annotated[list[str] | None, _csv_option(_NULL_VALUE)] = None,
    text_column: Annotated[list[str] | None, _csv_option("Stays text; repeatable.")] = None,
    strip: Annotated[str | None, _csv_option("Characters cut from fields.")] = None,
    quote: Annotated[str | None, _csv_option("Around fields.")] = None,
    no_quote: Annotated[bool, _csv_option("Quotes are plain text.", "--no-quote")] = False,
    source_url: Annotated[str | None, typer.Option(help="Where it came from.")] = None,
    licence: Annotated[str | None, typer.Option(help="Terms of use.")] = None,
    as_json: Json = False,
) -> None:
    """Import files as an immutable version; the same content again changes nothing."""
    from raymi.data import stage
    from raymi.data.intake import Files, import_spec
    from raymi.settings import settings

    csv = _given(
        delimiter="\t" if delimiter == "\\t" else delimiter,
        columns=columns.split(",") if columns else None,
        null_values=null_value,
        text_columns=text_column,
        strip=strip,
        quote=quote,
    )
    request = import_spec(
        name,
        source,
        template=spec,
        files=Files(test, validation, file_format, skip_rows, window),
        fields=_given(
            target=target,
            source_url=source_url,
            licence=licence,
            split={"by": split_by} if split_by else None,
        ),
        csv={**csv, "quote": None} if no_quote else csv,
    )
    version = stage.run(request, store_dir=settings().store_dir)
    if as_json:
        print_json(version.model_dump(mode="json"))
        return
    print_line(f"{version.name}@{version.fingerprint[:12]}: {_rows(version)}")
    print_line(f"next: raymi data show {version.name}")


def list_versions(*, as_json: Json = False) -> None:
    """List every imported version."""
    from raymi.data.library import list_datasets
    from raymi.settings import settings

    versions = list_datasets(settings().store_dir)
    if as_json:
        facts = [{**v.summary(), "target": v.target, "imported_at": v.imported_at.isoformat(),
                  "licence": v.licence} for v in versions]  # fmt: skip
        print_json(facts)
        return
    if not versions:
        print_line("no datasets; import one: raymi data import NAME FILE --target COLUMN")
        return
    print_table(
        ("dataset", "rows", "columns", "target", "imported (UTC)", "licence"),
        [
            (
                f"{v.name}@{v.fingerprint[:12]}",
                _rows(v),
                len(v.columns),
                v.target,
                f"{v.imported_at:%Y-%m-%d %H:%M}",
                v.licence,
            )
            for v in versions
        ],
    )


def show(
    dataset: Annotated[str, typer.Argument(metavar="NAME[@FINGERPRINT]")],
    *,
    split: Annotated[Split, typer.Option(help="Whose statistics to print.")] = Split.TRAIN,
    as_json: Json = False,
) -> None:
    """Print schema, rows and what each column looks like."""
    from raymi.data.library import open_dataset
    from raymi.settings import settings

    name, _, prefix = dataset.partition("@")
    version, directory = open_dataset(settings().store_dir, name, prefix or None, check=False)
    if as_json:
        print_json({**version.model_dump(mode="json"), "directory": str(directory)})
        return
    print_line(f"{version.name}@{version.fingerprint}")
    facts = {
        "rows": _rows(version),
        "target": version.target or "none",
        "sources": ", ".join(file.path for file in version.sources),
        "from": version.source_url,
        "licence": version.licence,
        "imported": f"{version.imported_at:%Y-%m-%d %H:%M} UTC",
        "files": directory,
    }
    for label, fact in facts.items():
        if fact is not None:
            print_line(f"  {label}: {fact}")
    print_line()
    print_line(f"columns, over the {split.value} rows:")
    print_table(
        ("column", "type", "missing", "distinct", "min", "mean", "std", "max", "most frequent"),
        [(c.name, c.type, *_summary(c, c.statistics[split])) for c in version.columns],
    )


def _given(**options: object) -> dict[str, object]:
    return {name: value for name, value in options.items() if value is not None}


def _rows(version: DatasetVersion) -> str:
    return ", ".join(f"{version.num_rows(split):,} {split.value}" for split in Split)


def _summary(column: Column, statistics: ColumnStatistics) -> tuple[object, ...]:
    write = _date if column.type.startswith(("date", "timestamp")) else _number
    spread = statistics.std
    return (
        statistics.num_nulls,
        "" if statistics.num_distinct is None else f"{statistics.num_distinct:,}",
        write(statistics.minimum),
        write(statistics.mean),
        f"{spread / _SECONDS_PER_DAY:.4g} days" if spread and write is _date else _number(spread),
        write(statistics.maximum),
        ", ".join(
            f"{_shortened(value)} ({count:,})"
            for value, count in statistics.top_values[:_NUM_EXAMPLES]
        ),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _date(value: float | None) -> str:
    return "" if value is None else f"{_EPOCH + timedelta(seconds=value):%Y-%m-%d %H:%M}"


def _shortened(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _EXAMPLE_WIDTH else text[: _EXAMPLE_WIDTH - 3] + "..."
