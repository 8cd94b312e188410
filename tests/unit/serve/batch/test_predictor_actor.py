"""An actor answers as the model does, row by row, and its answers have the columns promised."""

import numpy as np
import pyarrow as pa
import pytest

from raymi.data.library import dataset_dir
from raymi.data.loading import load_split
from raymi.evaluate import stage as evaluate_stage
from raymi.evaluate.predictor import Predictions
from raymi.registry.bundle import load_bundle, serving_hints, write_bundle
from raymi.registry.signature import derive_signature
from raymi.serve.batch.contract import output_schema
from raymi.serve.batch.predictor_actor import (
    INPUT_PREFIX,
    NOT_FINITE,
    Charge,
    PredictorActor,
    answer_columns,
)
from raymi.serve.batch.screening import screen
from raymi.specs.data import Split
from raymi.store.artifacts import seal


@pytest.fixture(params=["classifier_run", "regression_run", "text_run"])
def model(request, tmp_path):
    """A bundle of each kind of target, its test rows, and what it should say about them."""
    run = request.getfixturevalue(request.param)
    directory = tmp_path / "bundle"
    directory.mkdir()
    result = run.result
    write_bundle(
        directory,
        result=result,
        evaluation=evaluate_stage.run(result, store_dir=run.store_dir),
        signature=derive_signature(result.preprocessing, run.dataset),
        weights=run.store_dir / "runs" / result.run_id / "model.safetensors",
        hints=serving_hints(result),
    )
    seal(directory)
    where = dataset_dir(run.store_dir, run.dataset.name, run.dataset.fingerprint)
    return load_bundle(directory), load_split(where, run.dataset, Split.TEST)


def actor_and_rows(bundle, table, *, probabilities, spoil=()):
    schema = output_schema(
        pa.schema([("name", pa.string())]),
        bundle.preprocessing.target,
        bundle.signature.outputs,
        probabilities=probabilities,
    )
    actor = PredictorActor(
        Charge(
            bundle_dir=str(bundle.directory),
            fingerprint=bundle.fingerprint,
            num_threads=1,
            uses_accelerator=False,
            schema=schema,
        )
    )
    typed, _ = screen(table, bundle.signature)
    columns = {f"{INPUT_PREFIX}{name}": typed.column(name) for name in typed.column_names}
    numbers = range(100, 100 + table.num_rows)
    errors = ["spoilt" if row in spoil else None for row in range(table.num_rows)]
    rows = pa.table(
        {
            "row": pa.array(numbers, pa.int64()),
            "error": pa.array(errors, pa.string()),
            "name": [f"n{number}" for number in numbers],
            **columns,
        }
    )
    return actor, rows


def test_the_answers_are_the_models(model):
    bundle, table = model
    expected = bundle.predictor().predict_table(table)
    is_regression = expected.target.kind == "regression"
    actor, rows = actor_and_rows(bundle, table, probabilities=not is_regression)

    answers = actor(rows)

    assert answers.column("row").to_pylist() == rows.column("row").to_pylist()
    assert answers.column("name").to_pylist() == rows.column("name").to_pylist()
    assert answers.column("error").null_count == table.num_rows
    if is_regression:
        assert np.allclose(answers.column("prediction").to_numpy(), expected.values)
    else:
        assert answers.column("prediction").to_pylist() == expected.labels
        found = np.array(answers.column("probabilities").to_pylist())
        assert np.allclose(found, expected.probabilities, atol=1e-6)


def test_a_row_with_an_error_has_no_prediction_and_changes_no_other(model):
    bundle, table = model
    actor, rows = actor_and_rows(bundle, table, probabilities=False)
    clean = actor(rows)
    actor, rows = actor_and_rows(bundle, table, probabilities=False, spoil={0, 3})

    answers = actor(rows)

    assert [row for row, e in enumerate(answers.column("error").to_pylist()) if e] == [0, 3]
    assert answers.column("prediction")[3].as_py() is None
    assert answers.slice(4).equals(clean.slice(4))


def test_an_answer_that_is_not_finite_is_an_error(model):
    bundle, table = model
    actor, rows = actor_and_rows(bundle, table, probabilities=False)
    for tensor in actor._predictor._network._model.state_dict().values():
        tensor.fill_(float("nan"))

    answers = actor(rows)

    assert set(answers.column("error").to_pylist()) == {NOT_FINITE}
    assert answers.column("prediction").null_count == table.num_rows


def test_the_best_class_is_told_by_its_own_name(classifier_target):
    outputs = (pa.schema([("prediction", pa.int64()), ("probability", pa.float32())]),)
    probabilities = np.array([[0.25, 0.75], [0.5, 0.5], [np.nan, 0.1]], dtype=np.float32)

    columns = answer_columns(Predictions(classifier_target, probabilities), *outputs)

    assert columns["prediction"].to_pylist()[:2] == [1, 0]
    assert columns["probability"].to_pylist()[:2] == [0.75, 0.5]
    assert columns["is_finite"].to_pylist() == [True, True, False]
