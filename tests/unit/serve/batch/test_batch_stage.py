"""A whole job over no rows, which needs no cluster: complete, repeatable, never mixed."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymi.errors import ConflictError, DataError, NotFoundError
from raymi.serve.batch import stage
from raymi.specs.batch_predict import BatchPredictSpec
from raymi.store.artifacts import verify


@pytest.fixture
def predict(store, tmp_path):
    """Run a job over a file; what it returned and what it said."""
    no_rows = {
        "size": pa.array([], pa.float64()),
        "colour": pa.array([], pa.string()),
        "pixels": pa.array([], pa.list_(pa.uint8(), 4)),
        "note": pa.array([], pa.string()),
        "id": pa.array([], pa.int16()),
    }
    pq.write_table(pa.table(no_rows), tmp_path / "rows.parquet")

    def predict(*, starts_anew=False, **fields):
        document = {
            "model": "things@1",
            "input": {"files": [str(tmp_path / "rows.parquet")]},
            "output": "daily",
            **fields,
        }
        said: list[str] = []
        result = stage.run(
            BatchPredictSpec.from_document(document),
            store=store,
            store_dir=tmp_path / "store",
            say=said.append,
            starts_anew=starts_anew,
        )
        return result, said

    return predict


def test_no_rows_make_a_complete_output_that_has_the_columns(predict, tmp_path):
    result, said = predict(keep=["id"])

    output = tmp_path / "store" / "predictions" / "daily"
    verify(output)
    assert result.path == str(output)
    assert pq.read_table(output / "predictions").schema.names == [
        "row",
        "id",
        "prediction",
        "error",
    ]
    assert said[-2:] == ["checked: 0 rows in, as many out, each once", f"complete: {output}"]


def test_the_lineage_is_written_and_sealed(predict, store, tmp_path):
    predict()

    output = tmp_path / "store" / "predictions" / "daily"
    lineage = json.loads((output / "lineage.json").read_text())
    sealed = json.loads((output / "MANIFEST.json").read_text())["files"]
    assert lineage["model"] == "things@1"
    assert lineage["model_fingerprint"] == store.resolve("things@1").fingerprint
    assert lineage["input"]["num_rows"] == 0
    assert lineage["spec"]["rows_per_part"] == 65_536
    assert lineage["hardware"]["accelerator"] == "cpu"
    assert {"lineage.json", "job.json", "predictions/part-00000.parquet"} <= set(sealed)


def test_the_same_command_after_the_end_does_nothing(predict, tmp_path):
    predict()
    path = tmp_path / "store" / "predictions" / "daily" / "lineage.json"
    written = path.read_bytes()

    result, said = predict()

    assert said[-1].startswith("already complete")
    assert result.num_parts_made == 0
    assert path.read_bytes() == written


def test_a_damaged_end_is_made_again(predict, tmp_path):
    predict()
    path = tmp_path / "store" / "predictions" / "daily" / "lineage.json"
    path.write_text("{}")

    predict()

    assert json.loads(path.read_text())["attempts"] == 2
    verify(path.parent)


def test_more_actors_are_no_other_job_and_another_column_is(predict):
    predict()

    predict(actors={"max_size": 7})
    with pytest.raises(ConflictError, match="begun for something else"):
        predict(keep=["id"])


def test_a_new_beginning_leaves_the_old_output_beside_it(predict, tmp_path):
    predict()

    predict(starts_anew=True, keep=["id"])

    names = sorted(path.name for path in (tmp_path / "store" / "predictions").glob("daily*"))
    assert len(names) == 2
    assert names[1].startswith("daily.before-")


def test_nothing_is_made_when_model_or_columns_are_missing(predict, tmp_path):
    with pytest.raises(NotFoundError):
        predict(model="things@9")
    with pytest.raises(DataError, match="no column 'absent'"):
        predict(keep=["absent"])

    assert not (tmp_path / "store" / "predictions").exists()
