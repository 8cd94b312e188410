"""Stage 4: judge a finished run on the test rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raymi.data.encoding import number_values
from raymi.data.library import open_dataset
from raymi.data.loading import load_split
from raymi.data.preprocessing import ClassTarget, NextByteTarget, NumberTarget, Preprocessing
from raymi.errors import DataError
from raymi.evaluate.judgement import Judgement, judge_classes, judge_numbers, judge_texts
from raymi.evaluate.predictor import Predictor, load_predictor
from raymi.evaluate.result import EVALUATION_FILE, PREDICTIONS_FILE, Evaluation
from raymi.specs.data import Split
from raymi.specs.train import TrainSpec
from raymi.train.outcome import MODEL_FILE
from raymi.train.result import TrainResult


def run(result: TrainResult, *, store_dir: Path) -> Evaluation:
    """Predict the test split with a run's final weights, and judge that.

    Writes `evaluation.json` and `test-predictions.parquet` into the run's directory. Uses the
    precision the run was trained with: that is what will be served.

    Raises:
        DataError: The dataset has no test rows.
        NotFoundError, IntegrityError: Dataset or weights are missing or damaged.
    """
    dataset, directory = open_dataset(
        store_dir, result.dataset["name"], result.dataset["fingerprint"]
    )
    table = load_split(directory, dataset, Split.TEST)
    if table.num_rows == 0:
        raise DataError(
            f"dataset {dataset.name}: no test rows",
            why="a model can only be judged on rows it was neither trained nor chosen with",
            fix="import it again with `split: {test: 0.2}`, or with a source that is `split: test`",
        )
    run_dir = Path(result.run_dir)
    predictor = load_predictor(
        run_dir / MODEL_FILE,
        result.architecture,
        result.preprocessing,
        precision=TrainSpec.from_document(result.spec).precision,
    )
    judgement, document = _judge(result.preprocessing, table, predictor)
    _write_parquet(document, run_dir / PREDICTIONS_FILE)
    evaluation = Evaluation(
        run_id=result.run_id,
        dataset=result.dataset,
        num_rows=table.num_rows,
        metrics=judgement.metrics,
        primary_metric=result.primary_metric,
        interval=judgement.interval,
        slices=judgement.slices,
        predictions_file=PREDICTIONS_FILE,
    )
    evaluation.save(run_dir / EVALUATION_FILE)
    return evaluation


def _judge(
    preprocessing: Preprocessing, table: pa.Table, predictor: Predictor
) -> tuple[Judgement, pa.Table]:
    """The judgement, and the table that shows it row by row."""
    target = preprocessing.target
    truth = table.column(target.column)
    columns = {"row": pa.array(np.arange(table.num_rows)), "target": truth}
    match target:
        case ClassTarget():
            predictions = predictor.predict_table(table)
            probabilities = predictions.probabilities
            columns["prediction"] = pa.array(predictions.labels, type=truth.type)
            columns["probability"] = pa.array(probabilities.max(axis=1))
            judgement = judge_classes(probabilities, preprocessing.encode_target(table), target)
        case NumberTarget():
            values = predictor.predict_table(table).values
            columns["prediction"] = pa.array(values)
            # The column itself: encoded targets have been through float32.
            judgement = judge_numbers(values, number_values(truth), target)
        case NextByteTarget():
            scores = predictor.score_texts(table)
            columns["num_bytes"] = pa.array(scores.num_bytes.astype(np.int64))
            columns["num_correct"] = pa.array(scores.num_correct.astype(np.int64))
            columns["loss"] = pa.array(scores.losses)
            judgement = judge_texts(scores.losses, scores.num_correct, scores.num_bytes)
    return judgement, pa.table(columns)


def _write_parquet(table: pa.Table, path: Path) -> None:
    temporary = path.with_name(f".{path.name}")
    pq.write_table(table, temporary)
    temporary.replace(path)
