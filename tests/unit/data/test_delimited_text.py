"""Delimited text becomes typed columns, or is refused with the file and the row that is wrong."""

import datetime as dt
import gzip

import pyarrow as pa
import pytest

from raymi.data.delimited import read_delimited
from raymi.errors import DataError, NotFoundError, SpecError
from raymi.specs.data import CsvSpec


def read(path, *, skip_rows=0, **csv):
    return read_delimited(path, CsvSpec.from_document(csv), skip_rows=skip_rows)


@pytest.mark.parametrize(
    ("fields", "expected", "arrow_type"),
    [
        (["1", "-2", "3"], [1, -2, 3], pa.int64()),
        (["1", "2.5", "1e3"], [1.0, 2.5, 1000.0], pa.float64()),
        (["true", "False"], [True, False], pa.bool_()),
        (["true", "NA"], [True, None], pa.bool_()),
        (["2024-02-29"], [dt.date(2024, 2, 29)], pa.date32()),
        (
            ["2024-02-29 10:00:00"],
            [dt.datetime.fromisoformat("2024-02-29T10:00")],
            pa.timestamp("us"),
        ),
        (["00501", "10001"], ["00501", "10001"], pa.string()),
        (["one", "2"], ["one", "2"], pa.string()),
        (["?", "7"], [None, 7], pa.int64()),
        (["", ""], [None, None], pa.null()),
    ],
)
def test_a_columns_type_is_told_from_all_its_values(write, fields, expected, arrow_type):
    rows = "".join(f"x,{field}\n" for field in fields)
    path = write("data.csv", f"name,value\n{rows}")

    column = read(path)["value"]

    assert column.type == arrow_type
    assert column.to_pylist() == expected


def test_fields_are_stripped_before_missing_values_and_types_are_told(write):
    path = write("adult.test", "|comment\n25, Private, <=50K.\n38, ?, >50K.\n")

    table = read(path, skip_rows=1, columns=["age", "work", "income"], strip=" .")

    assert table["age"].to_pylist() == [25, 38]
    assert table["work"].to_pylist() == ["Private", None]
    assert table["income"].to_pylist() == ["<=50K", ">50K"]


def test_quoted_fields_keep_delimiters_and_line_ends(write):
    path = write("data.csv", 'a,b\n1,"x, y\nz"\n2,"say ""hi"""\n')

    assert read(path)["b"].to_pylist() == ["x, y\nz", 'say "hi"']


def test_quotes_are_plain_text_when_there_is_no_quote_character(write):
    path = write("data.tsv", 'label\ttext\nham\t"Hi\nspam\tbye" now\n')

    assert read(path, delimiter="\t", quote=None)["text"].to_pylist() == ['"Hi', 'bye" now']


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_line_ending_a_byte_order_mark_and_blank_lines_are_accepted(write, ending):
    path = write("data.csv", "\ufeff" + ending.join(["a,b", "1,2", "", "3,4", ""]))

    assert read(path).to_pydict() == {"a": [1, 3], "b": [2, 4]}


def test_gzipped_text_is_unpacked(write):
    path = write("data.csv.gz", gzip.compress(b"a,b\n1,2\n"))

    assert read(path).to_pydict() == {"a": [1], "b": [2]}


def test_one_bad_number_among_many_is_refused_with_its_row_and_the_way_out(write):
    values = [str(value) for value in range(200)]
    values[41] = "n.a."
    path = write("data.csv", "price\n" + "\n".join(values))

    with pytest.raises(DataError, match=r"data\.csv: row 42, column 'price': 'n\.a\.'") as error:
        read(path)

    assert "--null-value" in error.value.fix
    assert read(path, null_values=["n.a."])["price"].null_count == 1
    assert read(path, text_columns=["price"])["price"].type == pa.string()


def test_numbers_with_commas_are_refused_rather_than_taken_for_names(write):
    path = write("data.csv", 'id;price\na;"1,5"\nb;"2,25"\nc;3\n')

    with pytest.raises(DataError, match=r"row 1, column 'price': '1,5' is not a number"):
        read(path, delimiter=";")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no rows"),
        ("a,b\n", "no rows"),
        ("a,b\n1,2\n3\n", "row 2 has 1 fields instead of 2"),
        ("a,b\n1,2\n\n3,4,5\n", "row 2 has 3 fields instead of 2"),
        ("a,a\n1,2\n", "duplicate column name 'a'"),
        ("a,,c\n1,2,3\n", "column 2 has no name"),
        ('a,b\n1,"x\n2,y\n3,z\n', "row 1 opens a quote that is never closed"),
        ("a;b\n1;2\n3;4\n", "one column, 'a;b'"),
        (b"a,b\n1,x\n2,caf\xe9\n", "line 3 is not UTF-8"),
        (b"caf\xe9,b\n1,x\n", "line 1 is not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "not UTF-8"),
        (b"\x00\x01\x02\xff\xfe" * 9, "not a text file"),
        (gzip.compress(b"a,b\n1,2\n" * 999)[:-9], "damaged gzip"),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", "first line is a row, not a header"),
        ("5.1,3.5\n4.9,3.0\n", "first line is a row, not a header"),
    ],
)  # fmt: skip
def test_damaged_text_is_refused_by_name(write, content, message):
    path = write("data.csv", content)

    with pytest.raises(DataError, match=f"data\\.csv.*{message}"):
        read(path)


@pytest.mark.parametrize("header", ["country,1990,1991", "0,1,2"])
def test_years_and_counters_are_column_names(write, header):
    path = write("data.csv", f"{header}\n7,2,3\n8,5,6\n".replace("country,", "country,", 1))

    assert ",".join(read(path).column_names) == header


def test_a_file_that_is_not_there_is_a_different_error(tmp_path):
    with pytest.raises(NotFoundError, match=r"absent\.csv"):
        read(tmp_path / "absent.csv")


def test_too_few_column_names_are_refused(write):
    path = write("data.csv", "1,2\n3,4\n")

    with pytest.raises(DataError, match=r"row 1 has 2 fields instead of 1"):
        read(path, columns=["only"])


@pytest.mark.parametrize("csv", [{"delimiter": "\u00a7"}, {"delimiter": '"'}, {"delimiter": "\n"}])
def test_an_impossible_dialect_is_refused(write, csv):
    with pytest.raises(SpecError, match="csv"):
        read(write("data.csv", "a,b\n1,2\n"), **csv)


def test_a_misspelt_text_column_is_refused_with_the_right_spelling(write):
    with pytest.raises(SpecError, match="did you mean 'price'"):
        read(write("data.csv", "price,b\n1,2\n"), text_columns=["prise"])
