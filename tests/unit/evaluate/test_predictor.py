"""The predictor answers as the bare network would, in chunks, whatever the precision."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from raymi.data.library import open_dataset
from raymi.data.loading import load_split
from raymi.errors import IntegrityError
from raymi.evaluate import predictor as predictor_module
from raymi.evaluate.network import EagerNetwork
from raymi.evaluate.predictor import MAX_CHUNK_ROWS, Predictor, load_predictor
from raymi.models.architecture import Architecture
from raymi.models.catalog import build_model
from raymi.specs.data import Split
from raymi.specs.precision import Precision

CPU = torch.device("cpu")


@pytest.fixture
def run(classifier_run):
    return classifier_run


@pytest.fixture
def table(run):
    dataset, directory = open_dataset(run.store_dir, "things")
    return load_split(directory, dataset, Split.TRAIN)


def load(run, precision=Precision.FP32):
    weights = run.store_dir / "runs" / run.result.run_id / "model.safetensors"
    result = run.result
    return load_predictor(
        weights, result.architecture, result.preprocessing, precision=precision, device=CPU
    )


def test_probabilities_are_the_softmax_of_the_bare_network(run, table):
    preprocessing = run.result.preprocessing
    torch.manual_seed(0)
    model = build_model(run.result.architecture, preprocessing).eval()
    arrays = preprocessing.prepare(preprocessing.encode(table))
    with torch.no_grad():
        outputs = model({name: torch.from_numpy(array) for name, array in arrays.items()})

    predictions = load(run).predict_table(table)

    expected = torch.softmax(outputs, dim=1).numpy()
    np.testing.assert_allclose(predictions.probabilities, expected, rtol=1e-5)
    assert predictions.probabilities.dtype == np.float32
    assert predictions.indices.dtype == np.int64
    assert predictions.labels == [("round", "square")[i] for i in expected.argmax(axis=1)]


def test_more_rows_than_a_chunk_are_answered_like_each_alone(run, table):
    many = pa.concat_tables([table] * (MAX_CHUNK_ROWS // table.num_rows + 2))
    predictor = load(run)

    predictions = predictor.predict_table(many)

    assert predictions.num_rows == many.num_rows > MAX_CHUNK_ROWS
    alone = predictor.predict_table(many.slice(MAX_CHUNK_ROWS + 5, 1))
    at = predictions.probabilities[MAX_CHUNK_ROWS + 5]
    np.testing.assert_allclose(alone.probabilities[0], at, rtol=1e-5)


def test_encoded_arrays_and_tables_give_the_same_answer(run, table):
    predictor = load(run)

    predictions = predictor.predict(run.result.preprocessing.encode(table))

    expected = predictor.predict_table(table).probabilities
    np.testing.assert_allclose(predictions.probabilities, expected, rtol=1e-5)


def test_no_rows_have_no_predictions(run, table):
    predictions = load(run).predict_table(table.slice(0, 0))

    assert predictions.probabilities.shape == (0, 2)
    assert predictions.labels == []


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16])
def test_a_narrow_precision_changes_digits_and_not_the_answer(run, table, precision):
    exact, narrow = load(run).predict_table(table), load(run, precision).predict_table(table)

    difference = np.abs(exact.probabilities - narrow.probabilities).max()

    assert 0 < difference < 0.02
    assert narrow.probabilities.dtype == np.float32


def test_numbers_come_back_in_the_targets_own_unit(regression_run):
    run = regression_run
    dataset, directory = open_dataset(run.store_dir, "things")
    target = run.result.preprocessing.target

    predictions = load(run).predict_table(load_split(directory, dataset, Split.TRAIN))

    assert predictions.values.dtype == np.float64
    # An untrained network says about zero standard deviations.
    assert abs(predictions.values.mean() - target.mean) < 2 * target.std
    with pytest.raises(AttributeError, match="regression"):
        _ = predictions.probabilities


def test_predicting_leaves_the_process_as_it_was(run, table):
    before = torch.get_float32_matmul_precision(), torch.is_grad_enabled(), torch.get_num_threads()

    load(run, Precision.BF16).predict_table(table)

    after = torch.get_float32_matmul_precision(), torch.is_grad_enabled(), torch.get_num_threads()
    assert after == before


def test_a_predictor_takes_any_network(run, table):
    class Always(torch.nn.Module):
        def forward(self, inputs):
            return torch.tensor([[0.0, 1.0]]).expand(len(inputs["numbers"]), 2)

    network = EagerNetwork(Always(), precision=Precision.FP32, device=CPU)
    predictor = Predictor(network, run.result.preprocessing)

    assert set(predictor.predict_table(table).labels) == {"square"}


@pytest.mark.parametrize("damage", ["other network", "not safetensors"])
def test_weights_that_do_not_fit_are_refused(run, damage, tmp_path):
    weights = Path(shutil.copy(Path(run.result.run_dir) / "model.safetensors", tmp_path))
    architecture = run.result.architecture
    if damage == "other network":
        architecture = Architecture(name="mlp", arguments={"hidden": [9]})
    else:
        weights.write_bytes(b"\0" * 100)

    with pytest.raises(IntegrityError, match=r"model\.safetensors"):
        load_predictor(
            weights, architecture, run.result.preprocessing, precision=Precision.FP32, device=CPU
        )


@pytest.fixture
def texts(text_run):
    dataset, directory = open_dataset(text_run.store_dir, "things")
    return load_split(directory, dataset, Split.TRAIN)


def bare_outputs(text_run, text):
    """Of the network alone, on one text without padding."""
    torch.manual_seed(0)
    model = build_model(text_run.result.architecture, text_run.result.preprocessing).eval()
    with torch.no_grad():
        return model({"bytes:note": torch.tensor([list(text.encode())[:24]])})[0]


def test_what_follows_a_text_is_told_from_its_last_byte(text_run):
    texts = ["T", "To be", "a text that is longer than what is read", "été"]

    predictions = load(text_run).predict_table(pa.table({"note": texts}))

    expected = [torch.softmax(bare_outputs(text_run, text)[-1], dim=0).numpy() for text in texts]
    np.testing.assert_allclose(predictions.probabilities, expected, rtol=1e-4)
    assert predictions.labels == [
        bytes([row.argmax()]).decode("utf-8", "backslashreplace") for row in expected
    ]


def test_texts_are_scored_byte_by_byte_as_the_bare_network_would(text_run, texts):
    scores = load(text_run).score_texts(texts)

    for row in (0, len(texts) - 1):
        text = texts["note"][row].as_py()
        following = torch.tensor(list(text.encode())[1:24])
        outputs = bare_outputs(text_run, text)[: len(following)]
        losses = torch.nn.functional.cross_entropy(outputs, following, reduction="sum")
        assert scores.losses[row] == pytest.approx(losses.item(), rel=1e-4)
        assert scores.num_correct[row] == (outputs.argmax(dim=1) == following).sum()
        assert scores.num_bytes[row] == len(following)


def test_texts_are_scored_the_same_whatever_fits_into_memory(text_run, texts, monkeypatch):
    whole = load(text_run).score_texts(texts)
    monkeypatch.setattr(predictor_module, "MAX_CHUNK_BYTES", 5 * 24)
    cut = load(text_run)

    np.testing.assert_allclose(cut.score_texts(texts).losses, whole.losses, rtol=1e-5)
    assert cut.predict_table(texts).num_rows == texts.num_rows
    assert len(cut.score_texts(texts.slice(0, 0)).losses) == 0


def test_what_was_trained_in_bf16_alone_answers_in_bf16(run, table):
    pure = load(run, Precision.BF16_PURE).predict_table(table).probabilities
    wide = load(run, Precision.FP32).predict_table(table).probabilities

    assert pure == pytest.approx(wide, abs=0.02)
    assert (pure != wide).any()
