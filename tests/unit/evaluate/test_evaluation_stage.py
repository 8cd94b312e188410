"""A run is judged on the test rows alone, and every prediction can be looked up afterwards."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as sklearn

from raymi.data.library import open_dataset
from raymi.data.loading import load_split
from raymi.errors import DataError
from raymi.evaluate import stage
from raymi.evaluate.result import Evaluation
from raymi.specs.data import Split


def test_metrics_are_those_of_the_predictions_file(classifier_run):
    run = classifier_run

    evaluation = stage.run(run.result, store_dir=run.store_dir)

    rows = pq.read_table(Path(run.result.run_dir) / evaluation.predictions_file).to_pydict()
    expected = sklearn.accuracy_score(rows["target"], rows["prediction"])
    assert evaluation.metrics["accuracy"] == pytest.approx(expected)
    assert set(evaluation.metrics) == {"accuracy", "loss", "ece", "macro_f1"}
    assert evaluation.interval.low <= expected <= evaluation.interval.high
    assert min(rows["probability"]) >= 0.5
    assert f"accuracy {expected:.4f}" in evaluation.sentence


def test_the_rows_are_the_test_split_in_order(classifier_run):
    run = classifier_run
    dataset, directory = open_dataset(run.store_dir, "things")
    test_rows = load_split(directory, dataset, Split.TEST)

    evaluation = stage.run(run.result, store_dir=run.store_dir)

    file = pq.read_table(Path(run.result.run_dir) / evaluation.predictions_file)
    assert file.column("target").to_pylist() == test_rows.column("shape").to_pylist()
    assert file.column("row").to_pylist() == list(range(test_rows.num_rows))
    assert evaluation.num_rows == test_rows.num_rows == dataset.num_rows(Split.TEST)


def test_recall_is_reported_for_every_class(classifier_run):
    run = classifier_run

    evaluation = stage.run(run.result, store_dir=run.store_dir)

    assert [s.name for s in evaluation.slices] == ["shape=round", "shape=square"]
    assert sum(s.num_rows for s in evaluation.slices) == evaluation.num_rows


def test_a_text_is_judged_by_its_bytes(text_run):
    run = text_run

    evaluation = stage.run(run.result, store_dir=run.store_dir)

    rows = pq.read_table(Path(run.result.run_dir) / evaluation.predictions_file).to_pydict()
    expected = sum(rows["loss"]) / sum(rows["num_bytes"])
    assert evaluation.primary_metric == "loss"
    assert evaluation.metrics["loss"] == pytest.approx(expected)
    assert evaluation.metrics["bits_per_byte"] == pytest.approx(expected / np.log(2.0))
    assert evaluation.metrics["accuracy"] == sum(rows["num_correct"]) / sum(rows["num_bytes"])
    assert evaluation.interval.low < expected < evaluation.interval.high
    assert [len(text.encode()[:24]) - 1 for text in rows["target"]] == rows["num_bytes"]
    assert sum(s.num_rows for s in evaluation.slices) == evaluation.num_rows


def test_a_regression_is_judged_in_the_targets_own_unit(regression_run):
    run = regression_run

    evaluation = stage.run(run.result, store_dir=run.store_dir)

    rows = pq.read_table(Path(run.result.run_dir) / evaluation.predictions_file).to_pydict()
    expected = sklearn.root_mean_squared_error(rows["target"], rows["prediction"])
    assert evaluation.metrics["rmse"] == pytest.approx(expected)
    assert evaluation.interval.low < expected < evaluation.interval.high
    squares = sum(s.num_rows * s.value**2 for s in evaluation.slices)
    assert np.sqrt(squares / evaluation.num_rows) == pytest.approx(expected)


def test_the_evaluation_is_left_with_the_run(classifier_run):
    run = classifier_run

    evaluation = stage.run(run.result, store_dir=run.store_dir)

    assert Evaluation.load(Path(run.result.run_dir) / "evaluation.json") == evaluation


def test_a_dataset_without_test_rows_is_refused(make_run):
    run = make_run(test_share=0.0)

    with pytest.raises(DataError, match="no test rows"):
        stage.run(run.result, store_dir=run.store_dir)
