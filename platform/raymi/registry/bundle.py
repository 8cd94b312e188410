"""A servable model as a directory: weights, contract, evaluation and where it came from.

    bundle.json           format, architecture, serving hints, lineage
    model.safetensors     weights, fp32
    preprocessing.json    from rows to the network's inputs
    signature.json        what a caller sends and gets
    evaluation.json       how good it is on test rows
    golden.arrow          made-up rows and what it predicts for them, to be checked before serving
    spec.yaml             the resolved run: submitting it again reproduces the model
    environment.json      installed distributions of the run
    code/<file>.py        the network's class, if it is not the catalog's
    MANIFEST.json         sha256 and size of all of these

Reading one needs no torch; only `Bundle.model` and `Bundle.predictor` do.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from raymi.data.preprocessing import Preprocessing
from raymi.errors import ConflictError
from raymi.evaluate.result import Evaluation
from raymi.models.architecture import Architecture
from raymi.models.own_code import execute, source_of
from raymi.registry.golden import GoldenExamples, make_golden
from raymi.registry.publication import check_fingerprint
from raymi.registry.signature import Signature
from raymi.specs.precision import Precision
from raymi.specs.train import TrainSpec
from raymi.specs.yaml_text import dump, parse
from raymi.store.artifacts import verify
from raymi.store.record import Record
from raymi.train.plan import Teacher
from raymi.train.result import TrainResult

if TYPE_CHECKING:
    import torch
    from torch import nn

    from raymi.evaluate.predictor import Predictor

_DOCUMENT = "bundle.json"
_WEIGHTS = "model.safetensors"
_PREPROCESSING = "preprocessing.json"
_SIGNATURE = "signature.json"
_EVALUATION = "evaluation.json"
_GOLDEN = "golden.arrow"
_SPEC = "spec.yaml"
_ENVIRONMENT = "environment.json"
_CODE = "code"


class ServingHints(Record):
    """What was measured about running this model."""

    max_batch_size: int
    """Rows in one forward pass: the run's micro-batch, or the largest that its sweep found worth
    trying."""

    batch_sizes: tuple[int, ...] = ()
    """Sizes that its sweep timed and found worth trying, smallest first; none without a sweep."""

    precision: Precision
    """Arithmetic it was trained and evaluated with."""


class Lineage(Record):
    """Where a model came from."""

    run_id: str
    """The run."""

    spec_fingerprint: str
    """sha256 of its resolved spec."""

    dataset: dict[str, Any]
    """Name, fingerprint and row counts of the data."""

    problem: str
    """The problem's module."""

    git_commit: str | None
    """Commit of the code, with `+dirty` if files differed."""

    code_package: str | None
    """Ray's content hash of the uploaded working directory."""

    hardware: dict[str, Any]
    """What it was trained on."""

    started_at: datetime
    """UTC."""

    validation_metrics: dict[str, float]
    """After the last step; the evaluation has those on test rows."""

    samples_per_s: float
    """Training throughput."""

    teacher: Teacher | None = None
    """The registered model it learned from besides its labels."""


class BundleDocument(Record):
    """`bundle.json`."""

    format: Literal[1] = 1
    """Of the directory; a reader refuses one it does not know."""

    architecture: Architecture
    """The network."""

    code: str | None
    """The file of its class, relative to the bundle; None for the catalog's."""

    serving: ServingHints
    """How to run it."""

    lineage: Lineage
    """Where it came from."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle."""

    directory: Path
    fingerprint: str
    document: BundleDocument
    preprocessing: Preprocessing
    signature: Signature
    evaluation: Evaluation
    spec: dict[str, Any]
    environment: dict[str, str]
    code: bytes | None

    @property
    def architecture(self) -> Architecture:
        """The network."""
        return self.document.architecture

    @property
    def serving(self) -> ServingHints:
        """How to run it."""
        return self.document.serving

    @property
    def precision(self) -> Precision:
        """Arithmetic it was trained and evaluated with."""
        return self.document.serving.precision

    @property
    def lineage(self) -> Lineage:
        """Where it came from."""
        return self.document.lineage

    def golden(self) -> GoldenExamples:
        """Rows that it must predict as it did when it was registered."""
        return GoldenExamples.load(self.directory / _GOLDEN, self.preprocessing, self.precision)

    def model(self) -> nn.Module:
        """Build the network and load its weights; fp32, on the CPU.

        Raises:
            IntegrityError: The weights are not this network's.
            SpecError: The network cannot be built.
        """
        from raymi.evaluate.network import load_model

        module = None
        if self.code is not None and self.document.code is not None:
            path = self.directory / self.document.code
            module = execute(self.code, path=path, fingerprint=self.fingerprint)
        weights = self.directory / _WEIGHTS
        return load_model(weights, self.architecture, self.preprocessing, module=module)

    def predictor(self, device: torch.device | None = None) -> Predictor:
        """The network as it was evaluated; `device` unset: an accelerator if there is one.

        Raises:
            IntegrityError, SpecError: As `model`.
        """
        from raymi.evaluate.network import EagerNetwork
        from raymi.evaluate.predictor import Predictor

        network = EagerNetwork(self.model(), precision=self.precision, device=device)
        return Predictor(network, self.preprocessing)


def write_bundle(
    directory: Path,
    *,
    result: TrainResult,
    evaluation: Evaluation,
    signature: Signature,
    weights: Path,
    hints: ServingHints,
) -> None:
    """Fill an empty directory; whoever publishes it seals it with a manifest.

    Args:
        directory: Where to write.
        result: The run.
        evaluation: The judgement of its final weights.
        signature: The contract.
        weights: Its final weights, a safetensors file.
        hints: How to run it.

    Raises:
        SpecError: The network's own file cannot travel with the bundle.
        IntegrityError: The weights are not this network's, or what it predicts is not finite.
    """
    shutil.copyfile(weights, directory / _WEIGHTS)
    code, module = None, None
    module_source = source_of(result.architecture)
    if module_source is not None:
        code = f"{_CODE}/{module_source.name}"
        (directory / _CODE).mkdir()
        shutil.copyfile(module_source, directory / code)
        content = (directory / code).read_bytes()
        content_sha256 = hashlib.sha256(content).hexdigest()
        module = execute(content, path=directory / code, fingerprint=content_sha256)
    _golden(directory, result, signature, hints.precision, module).save(directory / _GOLDEN)
    result.preprocessing.save(directory / _PREPROCESSING)
    signature.save(directory / _SIGNATURE)
    evaluation.save(directory / _EVALUATION)
    BundleDocument(
        architecture=result.architecture,
        code=code,
        serving=hints,
        lineage=_lineage(result),
    ).save(directory / _DOCUMENT)
    (directory / _SPEC).write_text(dump(result.spec), encoding="utf-8")
    environment = json.dumps(result.provenance.environment, indent=2, sort_keys=True)
    (directory / _ENVIRONMENT).write_text(environment + "\n", encoding="utf-8")


def load_bundle(directory: Path, *, fingerprint: str | None = None) -> Bundle:
    """Check every byte, then read everything but the weights.

    Args:
        directory: The bundle.
        fingerprint: What the registry says its manifest's sha256 is; unset: not compared.

    Raises:
        NotFoundError: There is no bundle.
        IntegrityError: A byte has changed since it was published.
        ConflictError: Another version of Raymi wrote it.
    """
    found = verify(directory)
    if fingerprint is not None:
        check_fingerprint(found, fingerprint, directory)
    try:
        document = BundleDocument.load(directory / _DOCUMENT)
        return Bundle(
            directory=directory,
            fingerprint=found,
            document=document,
            preprocessing=Preprocessing.load(directory / _PREPROCESSING),
            signature=Signature.load(directory / _SIGNATURE),
            evaluation=Evaluation.load(directory / _EVALUATION),
            spec=parse((directory / _SPEC).read_text(encoding="utf-8")),
            environment=json.loads((directory / _ENVIRONMENT).read_text(encoding="utf-8")),
            code=(directory / document.code).read_bytes() if document.code else None,
        )
    except (OSError, ValidationError) as error:
        raise ConflictError(
            f"{directory}: a bundle this version of Raymi cannot read",
            why=" ".join(str(error).split())[:200],
            fix="use the version of Raymi that wrote it, or train and register again",
        ) from error


def serving_hints(result: TrainResult, batch_sizes: Sequence[int] = ()) -> ServingHints:
    """How to run what a run has made.

    Args:
        result: The run.
        batch_sizes: What its sweep found worth trying; empty without one.
    """
    spec = TrainSpec.from_document(result.spec)
    return ServingHints(
        max_batch_size=max(batch_sizes, default=spec.batch.micro_batch_size),
        batch_sizes=tuple(batch_sizes),
        precision=spec.precision,
    )


def _golden(
    directory: Path,
    result: TrainResult,
    signature: Signature,
    precision: Precision,
    module: ModuleType | None,
) -> GoldenExamples:
    from raymi.evaluate.predictor import load_predictor

    predictor = load_predictor(
        directory / _WEIGHTS,
        result.architecture,
        result.preprocessing,
        precision=precision,
        module=module,
    )

    def predict(rows: pa.Table) -> np.ndarray:
        return predictor.predict_table(rows).outputs

    return make_golden(result.preprocessing, signature, predict, precision)


def _lineage(result: TrainResult) -> Lineage:
    provenance = result.provenance
    return Lineage(
        run_id=result.run_id,
        spec_fingerprint=result.spec_fingerprint,
        dataset=result.dataset,
        problem=result.problem,
        git_commit=provenance.git_commit,
        code_package=provenance.code_package,
        hardware=provenance.hardware,
        started_at=provenance.started_at,
        validation_metrics=result.metrics,
        samples_per_s=result.samples_per_s,
        teacher=result.teacher,
    )
