"""Rows come as an Arrow stream too, and answers go as one; what is odd is refused by name."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raymi.serve.arrow_stream import CONTENT_TYPE

ARROW = {"content-type": CONTENT_TYPE}


def stream(table, *, rows_in_batch=2, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=rows_in_batch)
    return sink.getvalue().to_pybytes()


def good_table(num_rows=3):
    pixels = np.arange(4 * num_rows, dtype=np.uint8)
    return pa.table(
        {
            "pixels": pa.FixedSizeListArray.from_arrays(pa.array(pixels), 4),
            "weight": pa.array(np.linspace(0.0, 1.0, num_rows)),
            "colour": pa.array(["red", None, "blue"][:num_rows]),
        }
    )


def replaced(name, values):
    table = good_table()
    return table.set_column(table.column_names.index(name), name, values)


def post(client, body, **headers):
    return client.post("/predict", content=body, headers={**ARROW, **headers})


def test_a_stream_is_answered_as_the_same_rows_in_json(client):
    table = good_table()
    rows = [{**row, "weight": float(row["weight"])} for row in table.to_pylist()]

    by_arrow = post(client, stream(table))
    by_json = client.post("/predict", json={"rows": rows})

    assert by_arrow.status_code == 200
    assert by_arrow.json() == by_json.json()


def test_who_accepts_a_stream_gets_one(client):
    answer = post(client, stream(good_table()), accept=CONTENT_TYPE)

    table = pa.ipc.open_stream(answer.content).read_all()
    expected = post(client, stream(good_table())).json()["predictions"]
    assert answer.headers["model-version"] == "shapes@4"
    assert table.column("label").to_pylist() == [p["label"] for p in expected]
    assert np.array(table.column("probabilities").to_pylist()).shape == (3, 3)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("pixels", pa.array([[0, 1, 2, 3]] * 3)),
        ("pixels", pa.array([[0.0, 1.0, 2.0, 3.0]] * 3, pa.list_(pa.float32(), 4))),
        ("weight", pa.array([1, 2, 3], pa.int8())),
        ("colour", pa.array(["red", "red", None]).dictionary_encode()),
        ("colour", pa.array(["red", "red", None], pa.large_string())),
    ],
)
def test_other_types_that_hold_the_same_values_are_taken(client, name, values):
    assert post(client, stream(replaced(name, values))).status_code == 200


@pytest.mark.parametrize(
    ("name", "values", "field"),
    [
        ("pixels", pa.array([[0, 1, 2, 300]] * 3), "rows[0].pixels"),
        ("pixels", pa.array([[0, 1, 2, 3], [0, 1], [0, 1, 2, 3]]), "rows[1].pixels"),
        ("pixels", pa.array([[0, 1, 2, 3], None, [0, 1, 2, 3]]), "rows[1].pixels"),
        ("pixels", pa.array(["a", "b", "c"]), "pixels"),
        ("weight", pa.array([1.0, float("nan"), 2.0]), "rows[1].weight"),
        ("weight", pa.array([1.0, None, 2.0]), "rows[1].weight"),
        ("weight", pa.array(["1", "2", "3"]), "rows[0].weight"),
        ("weight", pa.nulls(3), "weight"),
        ("colour", pa.array([1, 2, 3]), "rows[0].colour"),
        ("colour", pa.array([b"red"] * 3), "colour"),
    ],
)
def test_a_column_that_holds_something_else_is_refused_by_name(client, name, values, field):
    answer = post(client, stream(replaced(name, values)))

    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_missing_and_unknown_columns_are_named(client):
    missing = post(client, stream(good_table().drop_columns(["weight"])))
    unknown = post(client, stream(good_table().append_column("colur", pa.array([1, 2, 3]))))

    assert missing.json()["field"] == "weight"
    assert unknown.json()["try"] == "did you mean 'colour'?"


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_compressed_stream_is_refused_before_it_is_unpacked(client, codec):
    bomb = stream(
        pa.table({"pixels": np.zeros(1_000_000)}), rows_in_batch=1_000_000, compression=codec
    )

    assert len(bomb) < 50_000
    assert post(client, bomb[:8000]).status_code in (400, 413, 415)
    assert post(client, stream(good_table(), compression=codec)).status_code == 415


def test_a_compressed_dictionary_is_refused_too(client):
    table = replaced("colour", pa.array(["red" * 50, "blue", None]).dictionary_encode())

    assert post(client, stream(table, compression="zstd")).status_code == 415


def test_a_dictionary_that_would_fill_the_memory_is_refused(client):
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 20), pa.array(["x" * 1000]))
    table = pa.table(
        {
            "pixels": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(80, np.uint8)), 4),
            "weight": pa.array(np.zeros(20)),
            "colour": long,
        }
    )

    assert post(client, stream(table)).status_code == 413


def test_no_rows_and_too_many_are_refused(client):
    nothing = good_table().slice(0, 0)
    many = pa.concat_tables([good_table()] * 8)

    assert post(client, stream(nothing)).status_code == 422
    assert post(client, stream(many)).status_code == 413


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(place=st.integers(0, 5000), value=st.integers(0, 255), length=st.integers(0, 5000))
def test_a_damaged_stream_is_never_the_servers_fault(client, place, value, length):
    body = bytearray(stream(good_table()))
    body[place % len(body)] = value

    answer = post(client, bytes(body[: max(1, length)]))

    assert answer.status_code < 500
