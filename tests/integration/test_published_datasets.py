"""Data sets as their authors published them import as their documentation describes them."""

import pytest

from raymi.data import stage
from raymi.data.fitting import fit_preprocessing
from raymi.data.intake import Files, import_spec
from raymi.data.library import dataset_dir
from raymi.data.loading import load_split
from raymi.data.version import Split
from raymi.models.catalog import build_model
from raymi.specs.data import FileFormat
from raymi.train.problem import load_problem

TSV = {"delimiter": "\t", "columns": ["label", "text"], "quote": None}


@pytest.fixture
def import_from(shared_data, tmp_path):
    """Import a folder or file of the raw data sets."""

    def import_from(source, *, target=None, csv=None, **options):
        fields = {} if target is None else {"target": target}
        spec = import_spec("example", shared_data / source, fields=fields, csv=csv or {}, **options)
        return stage.run(spec, store_dir=tmp_path / "store")

    return import_from


def test_adult_has_its_documented_rows_gaps_and_classes(import_from, repository):
    version = import_from("adult", target="income", template=repository / "jobs/adult/data.yaml")

    gaps = sum(s.num_nulls for s in version.column("native_country").statistics.values())
    train_rows = version.num_rows(Split.TRAIN) + version.num_rows(Split.VALIDATION)
    assert (train_rows, version.num_rows(Split.TEST)) == (32_561, 16_281)
    assert gaps == 583 + 274
    assert fit_preprocessing(version).target.classes == ("<=50K", ">50K")


def test_fashion_mnist_has_its_documented_images(import_from):
    version = import_from("fashion_mnist", target="label")

    image = version.column("image")
    assert version.num_rows(Split.TEST) == 10_000
    assert (image.type, image.shape) == ("fixed_shape_tensor<uint8>[28,28]", (28, 28))
    assert image.statistics[Split.TEST].mean == pytest.approx(0.2868 * 255, abs=0.1)


@pytest.mark.parametrize(
    ("source", "target", "options", "num_rows", "kinds"),
    [
        ("wine_quality", "quality", {"csv": {"delimiter": ";"}}, 6_497, {"number"}),
        ("sms_spam/SMSSpamCollection", "label", {"csv": TSV}, 5_574, {"text"}),
        ("banking77", "category", {}, 13_083, {"text"}),
        ("california_housing/housing.csv", "median_house_value", {}, 20_640,
         {"number", "category"}),
        ("bike_sharing/hour.csv", "cnt", {}, 17_379, {"number"}),
        ("nyc_green_taxi/green_tripdata_2023-01.parquet", "trip_distance", {}, 68_211,
         {"number", "category"}),
        ("tinyshakespeare", None, {}, 32_777, None),
    ],
)  # fmt: skip
def test_published_files_import_as_they_are(import_from, source, target, options, num_rows, kinds):
    version = import_from(source, target=target, **options)

    assert sum(version.num_rows(split) for split in Split) == num_rows
    if kinds is not None:
        assert {feature.kind for feature in fit_preprocessing(version).features} == kinds


def test_a_play_is_cut_without_losing_a_character_and_its_end_is_held_out(
    import_from, shared_data, repository, tmp_path
):
    folder = "tinyshakespeare"
    version = import_from(folder, template=repository / "jobs/tiny_shakespeare/data.yaml")

    directory = dataset_dir(tmp_path / "store", version.name, version.fingerprint)
    parts = [load_split(directory, version, split)["text"].to_pylist() for split in Split]
    text = (shared_data / folder / "input.txt").read_text()
    assert "".join("".join(part) for part in parts) == text
    # nanoGPT trains on the first 90 %: the cut is within a row of it.
    assert abs(len("".join(parts[0])) - 0.9 * len(text)) < 65
    problem = load_problem("jobs.tiny_shakespeare.problem")
    found = fit_preprocessing(version, task=problem.task, context=problem.context)
    assert all(len(row.encode()) <= found.bytes_features[0].max_bytes for row in parts[0])


@pytest.mark.parametrize(
    ("name", "num_train", "num_test", "kinds"),
    [
        ("banking77", 10_003, 3_080, {"text": "text"}),
        ("california_housing", 16_449, 4_191, {"ocean_proximity": "category", **dict.fromkeys(
            ("longitude", "latitude", "housing_median_age", "total_rooms", "total_bedrooms",
             "population", "households", "median_income"), "number")}),
    ],
)  # fmt: skip
def test_problems_describe_their_files(import_from, repository, name, num_train, num_test, kinds):
    problem = load_problem(f"jobs.{name}.problem")

    version = import_from(name, template=repository / f"jobs/{name}/data.yaml")

    num_rows = [version.num_rows(split) for split in Split]
    assert (sum(num_rows[:2]), num_rows[2]) == (num_train, num_test)
    found = fit_preprocessing(version, task=problem.task, texts=problem.texts)
    assert {feature.column: feature.kind for feature in found.features} == kinds
    build_model(problem.architecture, found)


def test_months_with_different_integer_widths_are_one_dataset(import_from, shared_data):
    folder = shared_data / "nyc_green_taxi"
    files = Files(test=folder / "green_tripdata_2023-06.parquet", file_format=FileFormat.PARQUET)

    version = import_from("nyc_green_taxi/green_tripdata_2023-01.parquet", files=files)

    assert version.num_rows(Split.TEST) == 65_550
