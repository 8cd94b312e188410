"""From the arguments of `raymi data import` to a complete DataSpec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raymi.data.discovery import find_sources
from raymi.data.formats import format_of
from raymi.errors import NotFoundError, SpecError
from raymi.specs.data import DataSpec, FileFormat, SourceSpec, Split
from raymi.specs.loading import build_spec, load_spec


@dataclass(frozen=True, slots=True)
class Files:
    """Which files beside the main one, and how to read them all."""

    test: Path | None = None
    validation: Path | None = None
    file_format: FileFormat | None = None
    skip_rows: int = 0
    window: int | None = None

    @property
    def held_out(self) -> dict[Split, Path]:
        """Files that hold a split of their own."""
        given = {Split.VALIDATION: self.validation, Split.TEST: self.test}
        return {split: path for split, path in given.items() if path is not None}


def import_spec(
    name: str,
    source: Path,
    *,
    template: Path | None = None,
    files: Files = Files(),
    fields: Mapping[str, Any],
    csv: Mapping[str, Any],
) -> DataSpec:
    """Put a spec together and validate it.

    Args:
        name: The dataset.
        source: A file, or a directory of files; the root of the template's paths.
        template: A data spec that lists the sources.
        files: Other files of the same dataset, when there is no template.
        fields: Other fields of the DataSpec, over the template's; of `split` only those given.
        csv: Fields of its CsvSpec, over the template's.

    Raises:
        SpecError: A value is wrong, or two of them contradict each other.
        NotFoundError: A file does not exist.
        DataError: It is not clear which files of a directory to take.
    """
    if template is not None:
        document = _from_template(template, source, files)
    else:
        if csv and files.file_format is None and format_of(source.name) is None:
            # Whoever says how fields are separated says that there are fields.
            files = replace(files, file_format=None if source.is_dir() else FileFormat.CSV)
        document = _from_files(source, files)
    split = {**document.get("split", {}), **fields.get("split", {})}
    document.update(fields, kind="data", name=name, split=split)
    document["csv"] = {**document.get("csv", {}), **csv}
    spec = build_spec(DataSpec, document, where="data import")
    if not isinstance(spec, DataSpec):
        raise TypeError(f"expected a DataSpec, not {type(spec).__name__}")
    return spec


def _from_template(template: Path, source: Path, files: Files) -> dict[str, Any]:
    if files != Files():
        raise SpecError(
            "--spec: takes the place of --test, --validation, --format, --skip-rows and --window",
            why="the spec lists the sources and says how each is read",
            fix="write them into the spec, or leave --spec out",
        )
    spec = load_spec(template)
    if not isinstance(spec, DataSpec) or not spec.sources:
        raise SpecError(
            f"--spec {template}: lists no sources",
            why=f"it is a {spec.kind} spec; importing needs `kind: data` and `sources`",
            fix="see jobs/adult/data.yaml",
        )
    if not source.is_dir():
        raise NotFoundError(
            f"{source}: not a directory",
            why="with --spec, SOURCE is the directory that its paths are relative to",
            fix=f"pass the directory that holds {spec.sources[0].path}",
        )
    return {**spec.to_document(), "root": str(source.resolve())}


def _from_files(source: Path, files: Files) -> dict[str, Any]:
    sources = [
        found.model_copy(update={"skip_rows": files.skip_rows, "window": files.window})
        for found in find_sources(source, files.file_format)
    ]
    if files.held_out:
        _require_undivided(sources)
        sources = [found.model_copy(update={"split": Split.TRAIN}) for found in sources]
    sources += [
        SourceSpec(
            path=str(path.resolve()),
            format=files.file_format,
            split=split,
            skip_rows=files.skip_rows,
            window=files.window,
        )
        for split, path in files.held_out.items()
    ]
    root = source if source.is_dir() else source.parent
    document: dict[str, Any] = {
        "root": str(root.resolve()),
        "sources": [found.model_dump(mode="json") for found in sources],
    }
    if all(found.path.removesuffix(".gz").endswith(".tsv") for found in sources):
        document["csv"] = {"delimiter": "\t"}
    return document


def _require_undivided(sources: list[SourceSpec]) -> None:
    if any(source.split is not None for source in sources):
        raise SpecError(
            "--test, --validation: the directory has such files already",
            why=f"{', '.join(source.path for source in sources)} say their split",
            fix="pass a file as SOURCE, or a --spec that lists the sources",
        )
