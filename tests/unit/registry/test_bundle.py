"""A bundle answers as the run did, says where it came from, and notices every changed byte."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from raymi.data.library import open_dataset
from raymi.data.loading import load_split
from raymi.errors import ConflictError, IntegrityError, NotFoundError
from raymi.evaluate.predictor import load_predictor
from raymi.registry.bundle import load_bundle
from raymi.specs.data import Split
from raymi.specs.precision import Precision
from raymi.specs.train import TrainSpec
from raymi.store.artifacts import seal

CPU = torch.device("cpu")
FILES = [
    "MANIFEST.json",
    "bundle.json",
    "environment.json",
    "evaluation.json",
    "golden.arrow",
    "model.safetensors",
    "preprocessing.json",
    "signature.json",
    "spec.yaml",
]


def test_a_bundle_predicts_what_the_run_predicts(classifier_run, registered):
    run = classifier_run
    dataset, directory = open_dataset(run.store_dir, "things")
    table = load_split(directory, dataset, Split.TEST)
    expected = load_predictor(
        Path(run.result.run_dir) / "model.safetensors", run.result.architecture,
        run.result.preprocessing, precision=Precision.BF16, device=CPU,
    ).predict_table(table)  # fmt: skip

    bundle = load_bundle(Path(registered.path))

    predictions = bundle.predictor(CPU).predict_table(table)
    np.testing.assert_array_equal(predictions.probabilities, expected.probabilities)


def test_a_bundle_knows_where_it_came_from(classifier_run, registered):
    run = classifier_run

    bundle = load_bundle(Path(registered.path))

    assert bundle.fingerprint == registered.fingerprint
    assert bundle.lineage.dataset["fingerprint"] == run.dataset.fingerprint
    assert bundle.lineage.git_commit == run.result.provenance.git_commit
    assert bundle.lineage.hardware == run.result.provenance.hardware
    assert bundle.environment == run.result.provenance.environment
    assert bundle.evaluation.run_id == run.result.run_id
    assert TrainSpec.from_document(bundle.spec).fingerprint() == run.result.spec_fingerprint
    assert (bundle.serving.max_batch_size, bundle.precision) == (16, Precision.BF16)


def test_these_are_the_files_whose_bytes_are_flipped_below(registered):
    assert sorted(p.name for p in Path(registered.path).rglob("*") if p.is_file()) == FILES


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_in_any_file_is_refused(registered, copied, file):
    path = copied / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    with pytest.raises(IntegrityError):
        load_bundle(copied, fingerprint=registered.fingerprint)


@pytest.mark.parametrize("file", FILES[1:])
def test_a_missing_file_is_refused(copied, file):
    (copied / file).unlink()

    with pytest.raises(IntegrityError, match=file):
        load_bundle(copied)


def test_a_file_nobody_published_is_refused(copied):
    (copied / "code.py").write_text("print('hello')")

    with pytest.raises(IntegrityError, match=r"code\.py"):
        load_bundle(copied)


def test_a_bundle_sealed_again_after_a_change_is_not_the_registered_one(registered, copied):
    (copied / "environment.json").write_text("{}")
    seal(copied)

    with pytest.raises(IntegrityError, match="not the bundle that was registered"):
        load_bundle(copied, fingerprint=registered.fingerprint)


def test_no_bundle_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        load_bundle(tmp_path)


def test_a_bundle_of_an_unknown_format_is_refused(copied):
    document = json.loads((copied / "bundle.json").read_text())
    (copied / "bundle.json").write_text(json.dumps(document | {"format": 2}))
    seal(copied)

    with pytest.raises(ConflictError, match="cannot read"):
        load_bundle(copied)
