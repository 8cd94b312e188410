"""Predict a whole input with one registered model: BatchPredictSpec -> BatchPredictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from raymi.accelerators.catalog import CPU
from raymi.errors import IntegrityError
from raymi.registry.bundle import Bundle, load_bundle
from raymi.registry.protocol import ModelStore
from raymi.registry.version import ModelVersion
from raymi.serve.batch.contract import output_schema
from raymi.serve.batch.intake import Intake, take_in
from raymi.serve.batch.lineage import (
    BatchLineage,
    Check,
    InputLineage,
    check_parts,
    environment_sha256,
)
from raymi.serve.batch.part_writer import PartWriter, cannot_write
from raymi.serve.batch.parts import Part, PartReceipt, Resumption, cut, readings
from raymi.serve.batch.progress import Progress
from raymi.serve.batch.workspace import LINEAGE_FILE, Identity, Workspace, open_workspace
from raymi.specs.batch_predict import BatchPredictSpec
from raymi.store.artifacts import seal, verify
from raymi.store.record import Record
from raymi.train import cluster
from raymi.train.admission import resolve_accelerator
from raymi.train.events import EVENTS_FILE, EventLog, read_events
from raymi.train.provenance import collect_provenance
from raymi.train.result import Provenance

Say = Callable[[str], None]


class BatchPredictions(Record):
    """A complete output."""

    path: str
    """Its directory."""

    model: str
    """NAME@VERSION."""

    fingerprint: str
    """sha256 of the model's manifest."""

    num_rows: int
    """Rows, each of which is in the output once."""

    num_failed: int
    """Those of them that have an error in place of a prediction."""

    num_parts: int
    """Files of predictions."""

    num_parts_made: int
    """Those that this attempt has made; the others were there."""

    rows_per_s: float | None = None
    """Of this attempt, from the first rows on; None if it had too little to do."""


@dataclass(frozen=True, slots=True)
class _Job:
    """Everything that is settled before anything starts."""

    spec: BatchPredictSpec
    version: ModelVersion
    bundle: Bundle
    intake: Intake
    schema: pa.Schema
    max_batch_size: int
    parts: tuple[Part, ...]

    @property
    def identity(self) -> Identity:
        found = self.intake.survey
        return Identity(
            model=self.version.reference,
            model_fingerprint=self.version.fingerprint,
            input_fingerprint=found.fingerprint,
            num_rows=found.num_rows,
            settings={
                "keep": list(self.intake.kept.names),
                "probabilities": self.spec.probabilities,
                "max_batch_size": self.max_batch_size,
                "rows_per_part": self.spec.rows_per_part,
            },
        )


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """Where an attempt happens."""

    provenance: Provenance
    nodes: tuple[dict[str, float], ...]


def run(
    spec: BatchPredictSpec,
    *,
    store: ModelStore,
    store_dir: Path,
    say: Say,
    starts_anew: bool = False,
) -> BatchPredictions:
    """Predict every row, or go on where an earlier attempt was interrupted.

    Args:
        spec: Which model, which rows, and where to.
        store: Where the model reference is looked up.
        store_dir: Where datasets are, and outputs with a relative path.
        say: Receives progress, a line at a time.
        starts_anew: Move what is in the output's place aside.

    Raises:
        NotFoundError, DataError, SpecError: Model and rows do not fit; nothing was started.
        ConflictError: The output belongs to something else, or is being written.
        InfeasibleError: The actors can never be placed.
        RaymiError: It started and could not go on; the same command continues.
    """
    job = _prepare(spec, store, store_dir)
    directory = (store_dir / "predictions" / spec.output).absolute()
    found = job.intake.survey
    say(
        f"{job.version.reference}: {_count(found.num_rows, 'row')} in "
        f"{_count(len(found.files), 'file')}, {_count(len(job.parts), 'part')}, "
        f"batches of {job.max_batch_size}"
    )
    try:
        with open_workspace(directory, job.identity, starts_anew=starts_anew) as workspace:
            return _fill(job, workspace, say)
    except OSError as error:
        raise cannot_write(Path(error.filename or directory), error) from error


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _prepare(spec: BatchPredictSpec, store: ModelStore, store_dir: Path) -> _Job:
    version = store.resolve(spec.model)
    bundle = load_bundle(Path(version.path), fingerprint=version.fingerprint)
    intake = take_in(spec, bundle.signature, store_dir=store_dir)
    schema = output_schema(
        intake.kept,
        bundle.preprocessing.target,
        bundle.signature.outputs,
        probabilities=spec.probabilities,
    )
    return _Job(
        spec=spec,
        version=version,
        bundle=bundle,
        intake=intake,
        schema=schema,
        max_batch_size=spec.max_batch_size or bundle.serving.max_batch_size,
        parts=cut(intake.survey.num_rows, spec.rows_per_part),
    )


def _fill(job: _Job, workspace: Workspace, say: Say) -> BatchPredictions:
    left = workspace.look(job.parts)
    if workspace.is_complete and not left.missing and _is_sealed(workspace):
        say(f"already complete, nothing to do: {workspace.directory}")
        return _result(job, workspace, {r.index: r for r in left.done}, num_made=0)
    workspace.reopen()
    events = EventLog(workspace.directory / EVENTS_FILE)
    _begin(job, workspace, left, events, say)
    progress = Progress(
        say,
        events,
        num_parts=len(job.parts),
        num_done=len(left.done),
        num_rows=sum(part.num_rows for part in left.missing),
    )
    receipts = {receipt.index: receipt for receipt in left.done}

    def published(part: Part, receipt: PartReceipt) -> None:
        receipts[part.index] = receipt
        progress.part(part, receipt)

    around = _predict(job, workspace, left.missing, progress, published)
    check = check_parts(
        workspace,
        job.parts,
        receipts,
        num_rows=job.intake.survey.num_rows,
        now=datetime.now(UTC),
    )
    events.append("finished", num_rows=check.num_rows_out, num_failed=check.num_failed)
    _lineage(job, workspace, around, check).save(workspace.directory / LINEAGE_FILE)
    seal(workspace.directory)
    failed = f", {check.num_failed:,} with an error" if check.num_failed else ""
    say(f"checked: {_count(check.num_rows_out, 'row')} in, as many out, each once{failed}")
    say(f"complete: {workspace.directory}")
    return _result(
        job, workspace, receipts, num_made=len(left.missing), rows_per_s=progress.rows_per_s
    )


def _begin(job: _Job, workspace: Workspace, left: Resumption, events: EventLog, say: Say) -> None:
    for index, fault in left.damaged.items():
        say(f"{job.parts[index].name}: {fault}; it is made again")
        events.append("damaged", index=index, why=fault)
    if workspace.is_continued:
        say(f"going on: {len(left.done):,} of {len(job.parts):,} parts are done")
    events.append(
        "began",
        model=job.version.reference,
        num_rows=job.intake.survey.num_rows,
        num_parts=len(job.parts),
        num_done=len(left.done),
    )


def _predict(
    job: _Job,
    workspace: Workspace,
    missing: tuple[Part, ...],
    progress: Progress,
    published: Callable[[Part, PartReceipt], None],
) -> _Surroundings:
    """Make the missing parts; a cluster is only joined if they have rows."""
    filled = [part for part in missing if part.num_rows]
    around = _join() if filled else _Surroundings(collect_provenance(CPU, code_package=None), ())
    writer = PartWriter(
        workspace,
        missing,
        schema=job.schema,
        metadata=_metadata(job, around.provenance),
        publish=published,
    )
    try:
        if filled:
            for rows in _stream(job, filled, around):
                progress.rows(rows.num_rows)
                writer.add(rows)
        writer.finish()
    finally:
        writer.abandon()
    return around


def _join() -> _Surroundings:
    cluster.join()
    nodes = cluster.nodes()
    accelerator = resolve_accelerator("auto", nodes)
    provenance = collect_provenance(accelerator, code_package=cluster.code_package())
    return _Surroundings(provenance, tuple(dict(node) for node in nodes))


def _stream(job: _Job, parts: list[Part], around: _Surroundings) -> Iterator[pa.Table]:
    # Loaded here: without rows, neither Ray Data nor torch is needed.
    from raymi.serve.batch.pipeline import Source, predictions_of
    from raymi.serve.batch.predictor_actor import Charge
    from raymi.serve.batch.sizing import settle

    sizes = settle(
        job.spec.actors,
        around.nodes,
        max_batch_size=job.max_batch_size,
        num_rows=sum(part.num_rows for part in parts),
        row_bytes=job.intake.row_bytes,
    )
    source = Source(
        survey=job.intake.survey,
        readings=readings(parts, job.intake.survey.pieces),
        signature=job.bundle.signature,
        kept=job.intake.kept,
        chunk_rows=sizes.chunk_rows,
    )
    charge = Charge(
        bundle_dir=str(job.bundle.directory),
        fingerprint=job.version.fingerprint,
        num_threads=sizes.num_threads,
        uses_accelerator=sizes.gpus_per_actor > 0,
        schema=job.schema,
    )
    return predictions_of(source, charge, sizes)


def _metadata(job: _Job, provenance: Provenance) -> dict[str, str]:
    """The essentials of the lineage, for whoever meets one file alone."""
    return {
        "raymi.model": job.version.reference,
        "raymi.model_fingerprint": job.version.fingerprint,
        "raymi.input_fingerprint": job.intake.survey.fingerprint,
        "raymi.spec_fingerprint": job.spec.fingerprint(),
        "raymi.git_commit": provenance.git_commit or "",
        "raymi.environment_sha256": environment_sha256(provenance.environment),
    }


def _lineage(job: _Job, workspace: Workspace, around: _Surroundings, check: Check) -> BatchLineage:
    found = job.intake.survey
    (classes, *_) = (output.classes for output in job.bundle.signature.outputs)
    attempts = [e for e in read_events(workspace.directory / EVENTS_FILE) if e["event"] == "began"]
    return BatchLineage(
        model=job.version.reference,
        model_fingerprint=job.version.fingerprint,
        model_lineage=job.bundle.lineage,
        classes=classes,
        input=InputLineage(
            source=found.source,
            fingerprint=found.fingerprint,
            num_rows=found.num_rows,
            files=found.files,
        ),
        spec=job.spec.to_document(),
        spec_fingerprint=job.spec.fingerprint(),
        git_commit=around.provenance.git_commit,
        environment_sha256=environment_sha256(around.provenance.environment),
        hardware=around.provenance.hardware,
        nodes=around.nodes,
        started_at=workspace.job.started_at,
        finished_at=datetime.now(UTC),
        attempts=len(attempts),
        num_parts=len(job.parts),
        check=check,
    )


def _is_sealed(workspace: Workspace) -> bool:
    try:
        verify(workspace.directory)
    except IntegrityError:
        return False
    return True


def _result(
    job: _Job,
    workspace: Workspace,
    receipts: dict[int, PartReceipt],
    *,
    num_made: int,
    rows_per_s: float | None = None,
) -> BatchPredictions:
    return BatchPredictions(
        path=str(workspace.directory),
        model=job.version.reference,
        fingerprint=job.version.fingerprint,
        num_rows=job.intake.survey.num_rows,
        num_failed=sum(receipt.num_failed for receipt in receipts.values()),
        num_parts=len(job.parts),
        num_parts_made=num_made,
        rows_per_s=rows_per_s,
    )
