"""A model that was really trained leaves the platform, and is as good outside as it was inside.

No Ray: training runs in this process.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from raymi.cli.main import app
from raymi.data.library import open_dataset
from raymi.data.loading import load_split
from raymi.evaluate import stage as evaluate_stage
from raymi.registry import stage as registry_stage
from raymi.registry.bundle import load_bundle
from raymi.registry.store import open_store
from raymi.serve.export import bare_process
from raymi.specs.data import Split
from raymi.specs.loading import load_spec
from raymi.train import in_process


@pytest.fixture(scope="module")
def digits(tmp_path_factory, repository):
    """A home with `digits@1`, and what it says of each test row."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYMI_HOME", str(home))
        patch.delenv("RAYMI_STORE", raising=False)
        patch.delenv("RAYMI_DATABASE_URL", raising=False)
        patch.chdir(repository)
        store_dir = home / "store"
        spec = load_spec(Path("jobs/digits/train.yaml"), ["resources.cpus_per_worker=1"])
        result = in_process.run(spec, store_dir=store_dir)
        evaluation = evaluate_stage.run(result, store_dir=store_dir)
        version = registry_stage.run(result, evaluation, store=open_store(), store_dir=store_dir)
        yield version, pq.read_table(Path(result.run_dir) / evaluation.predictions_file)


def rows_of_the_test_split(version, store_dir):
    dataset = version.dataset
    found, directory = open_dataset(store_dir, dataset["name"], dataset["fingerprint"])
    column = load_bundle(Path(version.path)).signature.inputs[0].name
    table = load_split(directory, found, Split.TEST)
    return [{column: pixels} for pixels in table.column(column).to_pylist()]


@pytest.mark.parametrize(("precision", "most_changed"), [("fp32", 0), ("int8", 5)])
def test_every_test_row_is_predicted_alone_as_it_was_evaluated(
    digits, tmp_path, precision, most_changed
):
    version, evaluated = digits
    directory = tmp_path / "digits"
    done = CliRunner().invoke(
        app,
        ["export", "digits@1", "--precision", precision, "--output", str(directory)],
        catch_exceptions=False,
    )
    assert done.exit_code == 0
    # Nothing that the platform knows may be needed from here on.
    moved = Path(shutil.move(directory, tmp_path / "elsewhere"))
    rows = rows_of_the_test_split(version, Path(version.path).parents[2])
    (tmp_path / "rows.json").write_text(json.dumps(rows))

    ran = subprocess.run(
        [sys.executable, "-I", bare_process.__file__, moved / "run.py", tmp_path / "rows.json"],
        capture_output=True,
        text=True,
        check=True,
        env={},
    )

    labels = [answer["label"] for answer in json.loads(ran.stdout)["predictions"]]
    changed = sum(a != b for a, b in zip(labels, evaluated["prediction"].to_pylist(), strict=True))
    right = sum(a == b for a, b in zip(labels, evaluated["target"].to_pylist(), strict=True))
    assert changed <= most_changed
    assert right / len(rows) >= version.metrics["accuracy"] - most_changed / len(rows)
    assert version.metrics["accuracy"] > 0.95
