"""An import appears whole under its fingerprint or not at all, and can be found again."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from raymi.data import stage
from raymi.data.library import DATASET_FILE, dataset_dir, list_datasets, open_dataset
from raymi.data.loading import load_split
from raymi.data.tensors import tensor_view
from raymi.data.version import Split
from raymi.errors import (
    ConflictError,
    DataError,
    IntegrityError,
    NotFoundError,
    RaymiError,
    SpecError,
)
from raymi.specs.data import DataSpec
from raymi.store.artifacts import verify

COLUMNS = {"x": range(200), "pixels": [[i, i] for i in range(200)], "y": ["a", "b"] * 100}


def look_up(tmp_path, **fields):
    return stage.run(DataSpec(name="example", **fields), store_dir=tmp_path / "store")


def files_under(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


def test_every_row_is_in_one_split_and_keeps_the_order_of_the_source(import_table, tmp_path):
    version = import_table(COLUMNS, rows_per_shard=50)
    _, directory = open_dataset(tmp_path / "store", "example")

    rows = [load_split(directory, version, split)["x"].to_pylist() for split in Split]

    assert sorted(row for part in rows for row in part) == list(range(200))
    assert all(part == sorted(part) for part in rows)
    assert [len(part) for part in rows] == [version.num_rows(split) for split in Split]


def test_shards_hold_one_record_batch_and_are_read_without_copying(import_table, tmp_path):
    version = import_table(COLUMNS)
    directory = dataset_dir(tmp_path / "store", "example", version.fingerprint)
    allocated = pa.total_allocated_bytes()

    pixels = load_split(directory, version, Split.TRAIN)["pixels"]

    assert pixels.num_chunks == 1
    assert not tensor_view(pixels, (2,)).flags.owndata
    assert pa.total_allocated_bytes() == allocated


def test_the_directory_is_a_published_artifact(import_table, tmp_path):
    version = import_table(COLUMNS, rows_per_shard=100)

    directory = dataset_dir(tmp_path / "store", "example", version.fingerprint)

    assert verify(directory)
    assert files_under(directory) == ["MANIFEST.json", DATASET_FILE, "test-00000.arrow",
        "train-00000.arrow", "train-00001.arrow", "validation-00000.arrow"]  # fmt: skip


def test_importing_the_same_content_again_returns_the_version_that_is_there(import_table, tmp_path):
    first = import_table(COLUMNS)

    assert import_table(COLUMNS, licence="another") == first
    assert list_datasets(tmp_path / "store") == [first]


@pytest.mark.parametrize(
    ("columns", "fields", "error"),
    [
        ({"x": [1.0, float("inf")]}, {}, DataError),
        ({"x": [[1, 2], [3]]}, {}, DataError),
        ({"x": [1]}, {}, DataError),
        (COLUMNS, {"target": "z"}, SpecError),
        ({"x": range(99), "y": [None, *range(98)]}, {"target": "y"}, DataError),
        (COLUMNS, {"version": "abcdef0123"}, ConflictError),
    ],
)
def test_a_refused_import_leaves_nothing_behind(import_table, tmp_path, columns, fields, error):
    with pytest.raises(error):
        import_table(columns, **fields)

    assert list_datasets(tmp_path / "store") == []
    assert files_under(tmp_path / "store") == []


def test_an_import_that_fails_while_writing_leaves_nothing_visible(import_table, tmp_path):
    blocked = tmp_path / "store" / "datasets" / "example"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a directory must be")

    with pytest.raises(RaymiError, match="could not be written"):
        import_table(COLUMNS)

    assert list_datasets(tmp_path / "store") == []


def test_remains_of_a_killed_import_are_not_datasets(import_table, tmp_path):
    version = import_table(COLUMNS)
    directory = dataset_dir(tmp_path / "store", "example", version.fingerprint)
    remains = directory.parent / f".{directory.name}.k3x9"
    remains.mkdir()
    (remains / "train-00000.arrow").write_bytes(b"half")

    assert list_datasets(tmp_path / "store") == [version]
    assert open_dataset(tmp_path / "store", "example") == (version, directory)


def test_a_missing_target_is_refused_with_file_and_row(import_table):
    with pytest.raises(DataError, match=r"table\.parquet: row 3 has no target 'y'"):
        import_table({"x": range(99), "y": [1, 2, None, *range(96)]}, target="y")


def test_a_directory_a_missing_file_and_an_unknown_format_are_not_sources(write, tmp_path):
    write("data.xyz", "a")
    cases = {".": DataError, "absent.csv": NotFoundError, "data.xyz": SpecError}

    for path, error in cases.items():
        document = {"name": "example", "root": str(tmp_path), "sources": [{"path": path}]}
        with pytest.raises(error):
            stage.run(DataSpec.from_document(document), store_dir=tmp_path / "store")


def test_the_newest_import_is_meant_unless_a_version_is_named(import_table, tmp_path):
    first = import_table(COLUMNS)
    second = import_table({**COLUMNS, "x": range(1, 201)})

    assert look_up(tmp_path) == second
    assert look_up(tmp_path, version=first.fingerprint[:8]) == first
    assert import_table(COLUMNS, version=first.fingerprint[:8]) == first


def test_newest_is_decided_by_the_recorded_time_not_by_the_file_system(import_table, tmp_path):
    first, second = import_table(COLUMNS), import_table({**COLUMNS, "x": range(1, 201)})
    later = first.model_copy(update={"imported_at": second.imported_at + dt.timedelta(days=1)})
    later.save(dataset_dir(tmp_path / "store", "example", first.fingerprint) / DATASET_FILE)

    found, _ = open_dataset(tmp_path / "store", "example", check=False)

    assert found == later


def test_an_ambiguous_prefix_is_refused(import_table, tmp_path):
    version = import_table(COLUMNS)
    prefix = version.fingerprint[:8]
    twin = version.model_copy(update={"fingerprint": prefix + "0" * 56})
    directory = dataset_dir(tmp_path / "store", "example", twin.fingerprint)
    directory.mkdir()
    twin.save(directory / DATASET_FILE)

    with pytest.raises(SpecError, match="ambiguous"):
        open_dataset(tmp_path / "store", "example", prefix)


@pytest.mark.parametrize("name", ["exmple", "../example", "."])
def test_an_unknown_dataset_is_answered_with_the_import_command(import_table, tmp_path, name):
    import_table(COLUMNS)

    with pytest.raises(NotFoundError) as error:
        open_dataset(tmp_path / "store", name)

    assert "raymi data import" in error.value.fix


def test_an_unknown_version_is_answered_with_those_there_are(import_table, tmp_path):
    version = import_table(COLUMNS)

    with pytest.raises(NotFoundError, match=version.fingerprint[:12]):
        look_up(tmp_path, version="ffffff")


def test_another_target_than_the_imported_one_is_refused(import_table, tmp_path):
    import_table(COLUMNS, target="y")

    with pytest.raises(SpecError, match="imported with target 'y'"):
        look_up(tmp_path, target="x")


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: bytes([b[0] ^ 1]) + b[1:]])
def test_a_changed_byte_is_noticed_before_training(import_table, tmp_path, damage):
    version = import_table(COLUMNS)
    directory = dataset_dir(tmp_path / "store", "example", version.fingerprint)
    shard = directory / "train-00000.arrow"
    shard.write_bytes(damage(shard.read_bytes()))

    with pytest.raises(IntegrityError, match="train-00000"):
        open_dataset(tmp_path / "store", "example")
    with pytest.raises(IntegrityError) as error:
        import_table(COLUMNS)
    assert f"delete {directory}" in error.value.fix


@pytest.mark.parametrize("content", [None, b"", b"ARROW1"])
def test_a_damaged_or_missing_shard_is_refused_when_it_is_loaded(import_table, tmp_path, content):
    version = import_table(COLUMNS)
    directory = dataset_dir(tmp_path / "store", "example", version.fingerprint)
    (directory / "test-00000.arrow").unlink()
    if content is not None:
        (directory / "test-00000.arrow").write_bytes(content)

    with pytest.raises(IntegrityError, match="test-00000"):
        load_split(directory, version, Split.TEST)


def test_a_split_without_rows_is_an_empty_table_with_the_same_columns(import_table, tmp_path):
    version = import_table(COLUMNS, split={"test": 0.0})
    directory = dataset_dir(tmp_path / "store", "example", version.fingerprint)

    table = load_split(directory, version, Split.TEST)

    assert (table.num_rows, table.column_names) == (0, list(COLUMNS))
    assert version.column("x").statistics[Split.TEST].num_values == 0


def test_records_say_where_rows_came_from(import_table, tmp_path):
    version = import_table(COLUMNS, licence="CC0", source_url="https://example.org")

    (source,) = version.sources
    assert (source.path, source.num_rows) == ("table.parquet", 200)
    assert source.num_bytes == (tmp_path / "table.parquet").stat().st_size
    assert (version.licence, version.source_url) == ("CC0", "https://example.org")


def test_digits_are_those_of_scikit_learn(repository, tmp_path):
    from sklearn.datasets import load_digits

    document = {"name": "digits", "root": str(repository / "jobs/digits"),
                "sources": [{"path": "digits.parquet"}], "target": "label"}  # fmt: skip
    version = stage.run(DataSpec.from_document(document), store_dir=tmp_path)
    _, directory = open_dataset(tmp_path, "digits")
    tables = [load_split(directory, version, split) for split in Split]
    images = np.concatenate([tensor_view(table["pixels"], (8, 8)) for table in tables])
    labels = np.concatenate([table["label"].to_numpy() for table in tables])

    digits = load_digits()

    ours = sorted((*image.ravel(), label) for image, label in zip(images, labels, strict=True))
    rows = zip(digits.images.astype(int), digits.target, strict=True)
    assert ours == sorted((*image.ravel(), label) for image, label in rows)
