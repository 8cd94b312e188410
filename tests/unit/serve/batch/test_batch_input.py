"""An input is looked at once, numbered, and refused by name before anything starts."""

import gzip
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymi.errors import DataError, IntegrityError, NotFoundError, SpecError
from raymi.registry.signature import InputField, OutputField, Signature
from raymi.serve.batch.contract import kept_columns, output_schema, require_inputs
from raymi.serve.batch.intake import take_in
from raymi.serve.batch.parts import cut, readings
from raymi.serve.batch.survey import rows_of, survey
from raymi.specs.batch_predict import BatchInputSpec, BatchPredictSpec
from raymi.specs.data import FileFormat

NUM_ROWS = 2500


def field(name, datatype, *, shape=(), kind="number", nullable=False):
    return InputField(
        name=name, datatype=datatype, shape=shape, nullable=nullable, kind=kind, example=0
    )


SIGNATURE = Signature(
    inputs=(field("size", "FP64"), field("colour", "BYTES", kind="category", nullable=True)),
    outputs=(
        OutputField(name="label", datatype="INT64", shape=(), classes=(0, 1)),
        OutputField(name="probabilities", datatype="FP32", shape=(2,), classes=(0, 1)),
    ),
)


def rows(num_rows=NUM_ROWS) -> pa.Table:
    return pa.table(
        {
            "size": pa.array([row / 2 for row in range(num_rows)], pa.float64()),
            "colour": [f"c{row % 3}" for row in range(num_rows)],
        }
    )


def write_parquet(path, table):
    pq.write_table(table, path, row_group_size=400)


def write_arrow(path, table):
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=300)


def write_stream(path, table):
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=300)


def csv_text(table) -> str:
    lines = [f'{row["size"]},"{row["colour"]}"' for row in table.to_pylist()]
    return "\n".join(["size,colour", *lines, ""])


def write_csv(path, table):
    path.write_text(csv_text(table))


def write_gzip(path, table):
    path.write_bytes(gzip.compress(csv_text(table).encode()))


WRITERS = {
    "a.parquet": write_parquet,
    "a.arrow": write_arrow,
    "a.arrows": write_stream,
    "a.csv": write_csv,
    "a.csv.gz": write_gzip,
}


def look(directory, *patterns, **fields):
    spec = BatchInputSpec(files=tuple(str(directory / pattern) for pattern in patterns), **fields)
    return survey(spec, store_dir=directory)


def take(directory, *patterns, **fields):
    document = {
        "model": "m@1",
        "output": "o",
        "input": {"files": [str(directory / pattern) for pattern in patterns]},
        **fields,
    }
    spec = BatchPredictSpec.from_document(document)
    return take_in(spec, SIGNATURE, store_dir=directory)


def numbered(found, reading):
    """Row number -> size, of all rows of a reading."""
    pairs = []
    for first, table in rows_of(found, reading, columns=["size"], chunk_rows=100):
        values = [float(value) for value in table.column("size").to_pylist()]
        pairs += list(enumerate(values, start=first))
    return pairs


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("skipped", [(), (0,), (1, 4), (0, 1, 2, 3, 4, 5, 6)])
def test_every_format_gives_the_rows_of_the_missing_parts_under_their_numbers(
    tmp_path, name, skipped
):
    WRITERS[name](tmp_path / name, rows())
    found = look(tmp_path, name)
    missing = [part for part in cut(found.num_rows, 333) if part.index not in skipped]

    read = [pair for each in readings(missing, found.pieces) for pair in numbered(found, each)]

    wanted = [row for part in missing for row in range(part.first, part.end)]
    assert read == [(row, row / 2) for row in wanted]


def test_rows_are_numbered_through_all_files_in_the_order_of_their_names(tmp_path):
    for name, first, count in (("b", 700, 1800), ("a", 0, 700)):
        write_parquet(tmp_path / f"{name}.parquet", rows().slice(first, count))

    found = look(tmp_path, "*.parquet")

    assert [(file.first_row, file.num_rows) for file in found.files] == [(0, 700), (700, 1800)]
    [*each] = readings(cut(NUM_ROWS, 1000), found.pieces)
    assert [pair for reading in each for pair in numbered(found, reading)] == [
        (row, row / 2) for row in range(NUM_ROWS)
    ]


def test_a_file_that_two_patterns_fit_is_read_once(tmp_path):
    write_parquet(tmp_path / "a.parquet", rows())

    assert look(tmp_path, "a.*", "*.parquet", "a.parquet").num_rows == NUM_ROWS


def test_the_fingerprint_is_of_the_content_and_not_of_its_place(tmp_path):
    for name in ("a.csv", "b.csv"):
        write_csv(tmp_path / name, rows(10))
    write_csv(tmp_path / "c.csv", rows(11))

    one, same, other = (look(tmp_path, f"{name}.csv").fingerprint for name in "abc")

    assert one == same
    assert one != other


def test_reading_the_same_bytes_in_another_way_is_another_input(tmp_path):
    write_csv(tmp_path / "a.csv", rows(10))

    assert look(tmp_path, "a.csv").fingerprint != look(tmp_path, "a.csv", skip_rows=1).fingerprint


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path):
    path = tmp_path / "a.parquet"
    write_parquet(path, rows())
    found = look(tmp_path, "a.parquet")
    os.utime(path, (1, 1))
    [first, *_] = readings(cut(NUM_ROWS, 1000), found.pieces)

    with pytest.raises(IntegrityError, match="changed while"):
        numbered(found, first)


@pytest.mark.parametrize(
    ("pattern", "error", "what"),
    [
        ("*.parquet", NotFoundError, "fits no file"),
        ("absent.parquet", NotFoundError, "no file"),
        (".", NotFoundError, "a directory"),
        ("notes.txt", SpecError, "text format"),
        ("*.c*", SpecError, "unknown format"),
        ("[ad].*", SpecError, "several formats"),
        ("empty.csv", DataError, "cannot be read as csv"),
        ("cut.arrow", DataError, "cannot be read as arrow"),
        ("ragged.csv", DataError, "cannot be read as csv"),
        ("twice.csv", DataError, "duplicate column name 'size'"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path, pattern, error, what):
    write_csv(tmp_path / "a.csv", rows(3))
    write_arrow(tmp_path / "d.arrow", rows(3))
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "b.cfg").write_text("hello")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "cut.arrow").write_bytes((tmp_path / "d.arrow").read_bytes()[:-20])
    (tmp_path / "ragged.csv").write_text("size,colour\n1,red\n2\n")
    (tmp_path / "twice.csv").write_text("size,size\n1,2\n")

    with pytest.raises(error) as caught:
        look(tmp_path, pattern)

    assert what in caught.value.what


def test_a_header_alone_is_an_input_without_rows(tmp_path):
    for text in ("size,colour\n", "size,colour"):
        (tmp_path / "a.csv").write_text(text)

        found = take(tmp_path, "a.csv")

        assert (found.survey.num_rows, found.survey.pieces) == (0, ())


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"size": [1.0]}, "no column 'colour'"),
        ({"size": ["a"], "colour": ["red"]}, "column 'size' is string"),
        ({"size": [1.0], "colour": [3]}, "column 'colour' is int64"),
        ({"size": [[1.0]], "colour": ["red"]}, "column 'size' is list"),
        ({"size": [None], "colour": ["red"]}, "column 'size' is null"),
    ],
)
def test_a_column_that_is_missing_or_of_another_type_is_named(tmp_path, columns, why):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")

    with pytest.raises(DataError) as caught:
        take(tmp_path, "a.parquet")

    assert why in caught.value.what


def test_every_file_is_looked_at_not_only_the_first(tmp_path):
    write_parquet(tmp_path / "a.parquet", rows(3))
    write_parquet(tmp_path / "b.parquet", rows(3).drop_columns(["size"]))

    with pytest.raises(DataError, match=r"b\.parquet: no column 'size'"):
        take(tmp_path, "*.parquet")


def test_a_text_column_that_holds_no_number_at_all_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("size,colour\nred,1\ngreen,2\n")

    with pytest.raises(DataError, match="column 'size' holds nothing"):
        take(tmp_path, "a.csv")


@pytest.mark.parametrize(
    ("data_type", "fits"),
    [
        (pa.list_(pa.uint8()), True),
        (pa.list_(pa.uint8(), 4), True),
        (pa.list_(pa.uint8(), 5), False),
        (pa.list_(pa.list_(pa.int16(), 2), 2), True),
        (pa.list_(pa.list_(pa.int16(), 3), 2), False),
        (pa.list_(pa.string()), False),
        (pa.fixed_shape_tensor(pa.uint8(), [2, 2]), True),
        (pa.fixed_shape_tensor(pa.uint8(), [4, 1]), False),
        (pa.uint8(), False),
    ],
    ids=str,
)
def test_a_block_of_numbers_may_be_nested_or_flat_but_not_of_another_size(data_type, fits):
    signature = SIGNATURE.model_copy(update={"inputs": (field("x", "UINT8", shape=(2, 2)),)})

    def check():
        schema = pa.schema([("x", data_type)])
        require_inputs(signature, schema, where="a", file_format=FileFormat.PARQUET)

    if fits:
        check()
    else:
        with pytest.raises(DataError, match="column 'x'"):
            check()


def test_all_columns_are_kept_on_request_and_of_one_type_in_all_files():
    schemas = [
        pa.schema([("a", pa.int32()), ("b", pa.dictionary(pa.int8(), pa.string()))]),
        pa.schema([("b", pa.string()), ("a", pa.int64())]),
    ]

    kept = kept_columns(["*"], schemas, wheres=["one", "two"])

    assert kept == pa.schema([("a", pa.int64()), ("b", pa.string())])


def test_a_column_that_is_called_like_one_of_the_predictions_is_not_kept():
    schema = pa.schema([("row", pa.int64())])

    with pytest.raises(SpecError, match="'row' is also a column of the predictions"):
        kept_columns(["*"], [schema], wheres=["one"])


def test_the_predictions_of_a_classifier_have_its_classes_type(classifier_target):
    schema = output_schema(
        pa.schema([("id", pa.int32())]), classifier_target, SIGNATURE.outputs, probabilities=True
    )

    assert schema.names == ["row", "id", "prediction", "probability", "probabilities", "error"]
    assert schema.field("prediction").type == pa.int64()
    assert schema.field("probabilities").type == pa.list_(pa.float32(), 2)


def test_a_regression_has_no_probabilities_to_give(number_target):
    outputs = (OutputField(name="prediction", datatype="FP64", shape=()),)
    schema = output_schema(pa.schema([]), number_target, outputs, probabilities=False)

    assert schema.names == ["row", "prediction", "error"]
    with pytest.raises(SpecError, match="this model has none"):
        output_schema(pa.schema([]), number_target, outputs, probabilities=True)
