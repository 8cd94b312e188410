"""`raymi data` imports what a user points at, and shows what it made of it."""

import json

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from raymi.cli.main import app
from raymi.data.discovery import find_sources
from raymi.data.intake import Files, import_spec
from raymi.data.library import dataset_dir
from raymi.data.loading import load_split
from raymi.data.version import DatasetVersion
from raymi.errors import DataError, NotFoundError, RaymiError, SpecError
from raymi.specs.data import Split

HEADER = "size,colour,price\n"
CSV = HEADER + "".join(f"{i},{'red' if i % 3 else 'blue'},{i / 2}\n" for i in range(120))


@pytest.fixture
def raymi(tmp_path, monkeypatch):
    """Run the command line on a store of its own; errors are raised as they are."""
    monkeypatch.setenv("RAYMI_HOME", str(tmp_path / "home"))

    def raymi(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if isinstance(result.exception, RaymiError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return raymi


def found(path):
    return [(s.path, s.labels, s.split and s.split.value) for s in find_sources(path)]


def test_import_list_and_show_agree(raymi, write):
    imported = json.loads(raymi("data", "import", "shop", write("shop.csv", CSV), "--json"))
    (listed,) = json.loads(raymi("data", "list", "--json"))
    shown = json.loads(raymi("data", "show", "shop", "--json"))

    assert imported["fingerprint"] == listed["fingerprint"] == shown["fingerprint"]
    assert sum(listed["num_rows"].values()) == 120


def test_show_prints_a_readable_table(raymi, write):
    raymi("data", "import", "shop", write("shop.csv", CSV), "--target", "price", "--licence", "CC0")

    output = raymi("data", "show", "shop")

    for text in ("target: price", "licence: CC0", "colour", "red (", "double", "train"):
        assert text in output


def test_list_says_how_to_begin(raymi):
    assert "raymi data import" in raymi("data", "list")


def test_options_describe_a_file_without_header_quotes_and_a_name_that_tells(raymi, write):
    rows = "".join(f'spam\t"win {i}\nham\tsee {i}\n' for i in range(60))
    path = write("collection", f"comment\n{rows}")

    output = raymi("data", "import", "sms", path, "--delimiter", "\\t", "--columns", "label,text",
                   "--no-quote", "--skip-rows", "1", "--json")  # fmt: skip

    columns = json.loads(output)["columns"]
    assert [(c["name"], c["type"]) for c in columns] == [("label", "string"), ("text", "string")]


def test_held_out_files_keep_their_split(raymi, write):
    train, test = write("a.csv", CSV), write("elsewhere/b.csv", HEADER + "1,red,2.5\n")

    version = json.loads(raymi("data", "import", "shop", train, "--test", test, "--json"))

    rows = {shard["split"]: shard["num_rows"] for shard in version["shards"]}
    assert rows["test"] == 1
    assert rows["train"] + rows["validation"] == 120


def test_a_spec_finds_its_files_in_the_directory_and_options_go_before_it(raymi, write, tmp_path):
    write("raw/a.data", CSV.removeprefix(HEADER))
    spec = write(
        "data.yaml",
        "kind: data\nname: other\nsources: [{path: a.data, format: csv}]\n"
        "csv: {columns: [size, colour, price]}\ntarget: price\n",
    )

    output = raymi("data", "import", "shop", tmp_path / "raw", "--spec", spec,
                   "--target", "colour", "--json")  # fmt: skip

    version = json.loads(output)
    assert (version["name"], version["target"]) == ("shop", "colour")


def test_a_refusal_names_the_file_and_stores_nothing(raymi, write):
    with pytest.raises(DataError, match=r"shop\.csv: row 121"):
        raymi("data", "import", "shop", write("shop.csv", CSV + "1,2\n"))

    assert json.loads(raymi("data", "list", "--json")) == []


@pytest.mark.parametrize("name", ["Shop", "a/b", "../x", ""])
def test_a_name_that_is_no_name_is_refused(raymi, write, name):
    with pytest.raises(SpecError, match="name"):
        raymi("data", "import", name, write("shop.csv", CSV))


@pytest.mark.parametrize("files", [Files(skip_rows=1), Files(test="x")])
def test_a_spec_and_options_about_files_contradict_each_other(tmp_path, files):
    with pytest.raises(SpecError, match="--spec"):
        import_spec("x", tmp_path, template=tmp_path, files=files, fields={}, csv={})


def test_file_names_tell_the_split_and_other_files_are_left_out(write, tmp_path):
    for name in ("test.csv", "train.csv.gz", "val-1.csv", "sample_submission.csv", "testimony.csv"):
        write(name, CSV)

    assert found(tmp_path) == [
        ("train.csv.gz", None, "train"),
        ("val-1.csv", None, "validation"),
        ("test.csv", None, "test"),
    ]


def test_images_are_paired_with_their_labels(write_idx, tmp_path):
    for part in ("t10k", "train"):
        write_idx(f"{part}-images-idx3-ubyte.gz", np.zeros((2, 2, 2), np.uint8))
        write_idx(f"{part}-labels-idx1-ubyte.gz", np.zeros(2, np.uint8))

    assert found(tmp_path) == [
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "train"),
        ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", "test"),
    ]


def test_files_of_one_format_are_taken_together_and_documents_are_not_data(write, tmp_path):
    for name in ("b.csv", "a.csv", "README.txt", "notes.txt", "LICENSE", ".hidden.csv"):
        write(name, CSV)

    assert found(tmp_path) == [("a.csv", None, None), ("b.csv", None, None)]


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["a.csv", "b.parquet"], DataError, "several formats"),
        (["README.md"], DataError, "no data files"),
        (["test.csv"], DataError, "no file of training rows"),
        (["images-idx3-ubyte"], DataError, "images without labels"),
    ],
)
def test_an_unclear_directory_is_refused(write, tmp_path, names, error, message):
    for name in names:
        write(name, CSV)

    with pytest.raises(error, match=message):
        find_sources(tmp_path)


def test_a_source_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(NotFoundError, match="absent"):
        find_sources(tmp_path / "absent")


def test_a_text_is_imported_in_windows_whose_last_ones_are_held_out(raymi, write, tmp_path):
    text = "".join(f"line {i}\n" for i in range(200))
    path = write("play.txt", text)

    version = json.loads(
        raymi("data", "import", "play", path, "--window", 16, "--split-by", "position", "--json")
    )

    tables = [
        load_split(dataset_dir(tmp_path / "home" / "store", "play", version["fingerprint"]),
                   DatasetVersion.model_validate_json(json.dumps(version)), split)
        for split in Split
    ]  # fmt: skip
    assert "".join(pa.concat_tables(tables)["text"].to_pylist()) == text
    assert version["split"]["by"] == "position"


def test_how_rows_are_held_out_is_changed_over_a_template_one_field_at_a_time(write):
    template = write(
        "data.yaml",
        "kind: data\nname: x\nsources: [{path: play.txt, window: 4}]\nsplit: {test: 0.5}\n",
    )

    spec = import_spec(
        "play", template.parent, template=template, fields={"split": {"by": "position"}}, csv={}
    )

    assert (spec.split.by, spec.split.test, spec.sources[0].window) == ("position", 0.5, 4)
