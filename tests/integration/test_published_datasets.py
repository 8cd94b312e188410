"""Data sets as their authors published them import as their documentation describes them."""

import pytest

from raymi.data import stage
from raymi.data.fitting import fit_preprocessing
from raymi.data.intake import Files, import_spec
from raymi.data.version import Split
from raymi.specs.data import FileFormat

TSV = {"delimiter": "\t", "columns": ["label", "text"], "quote": None}


@pytest.fixture
def import_from(shared_data, tmp_path):
    """Import a folder or file of the raw data sets."""

    def import_from(source, *, target=None, csv=None, **options):
        spec = import_spec(
            "example", shared_data / source, fields={"target": target}, csv=csv or {}, **options
        )
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


def test_months_with_different_integer_widths_are_one_dataset(import_from, shared_data):
    folder = shared_data / "nyc_green_taxi"
    files = Files(test=folder / "green_tripdata_2023-06.parquet", file_format=FileFormat.PARQUET)

    version = import_from("nyc_green_taxi/green_tripdata_2023-01.parquet", files=files)

    assert version.num_rows(Split.TEST) == 65_550
