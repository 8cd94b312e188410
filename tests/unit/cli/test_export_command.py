"""`raymi export` leaves a directory that predicts alone, or nothing and the reason."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest
import torch
from typer.testing import CliRunner

from raymi.cli.main import app
from raymi.errors import CapabilityError, ConflictError, ExportError, NotFoundError
from raymi.evaluate import stage as evaluate_stage
from raymi.registry import stage as registry_stage
from raymi.registry.bundle import load_bundle
from raymi.registry.store import BUNDLES, SqlModelStore
from raymi.serve.backends import catalog
from raymi.serve.export import bare_process, onnx_directory, parity
from raymi.serve.rows import parse_rows
from raymi.specs.backend import ServingPrecision
from raymi.store.artifacts import verify

CPU = torch.device("cpu")
FILES = {
    "MANIFEST.json", "README.md", "example.json", "model.onnx", "parity.json",
    "preprocessing.json", "run.py", "signature.json",
}  # fmt: skip


@pytest.fixture(scope="session")
def registry(tmp_path_factory, classifier_run, regression_run, text_run):
    """A home with one model of each kind of target; tests must not change it."""
    home = tmp_path_factory.mktemp("exporting")
    store = SqlModelStore(f"sqlite:///{home / 'raymi.db'}", home / "store" / BUNDLES)
    runs = {"classifier": classifier_run, "regression": regression_run, "text": text_run}
    for name, run in runs.items():
        spec = {**run.result.spec, "name": name}
        result = run.result.model_copy(update={"run_id": f"run-{name}", "spec": spec})
        evaluation = evaluate_stage.run(result, store_dir=run.store_dir)
        registry_stage.run(result, evaluation, store=store, store_dir=run.store_dir)
    (home / "store" / "datasets").symlink_to(classifier_run.store_dir / "datasets")
    return home


@pytest.fixture
def home(registry, monkeypatch):
    monkeypatch.setenv("RAYMI_HOME", str(registry))
    monkeypatch.delenv("RAYMI_STORE", raising=False)
    monkeypatch.delenv("RAYMI_DATABASE_URL", raising=False)
    return registry


@pytest.fixture
def bundle_of(home):
    def load(name):
        store = SqlModelStore(f"sqlite:///{home / 'raymi.db'}", home / "store" / BUNDLES)
        return load_bundle(Path(store.resolve(f"{name}@1").path))

    return load


def raymi(*arguments: object) -> str:
    """Run a command in this process; errors come out as they are."""
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False).stdout


def run_alone(directory: Path, rows: list, *options: str) -> list[dict]:
    """Predict with the directory as a stranger would, where only two packages can be imported."""
    done = subprocess.run(
        [sys.executable, "-I", bare_process.__file__, directory / "run.py", *options],
        input=json.dumps(rows),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["predictions"]


def predictions_of_the_platform(bundle, rows):
    table = pa.Table.from_batches([parse_rows(rows, bundle.signature, max_rows=len(rows))])
    return bundle.predictor(CPU).predict_table(table)


CLASSIFIER_ROWS = [
    {"size": 12.5, "colour": "red", "pixels": [[0, 255], [3, 4]], "note": "this is row 3 of many"},
    {"size": 9.0, "colour": None, "pixels": [1, 2, 3, 4], "note": "Ünknown, words!"},
    {"size": -1e9, "colour": "mauve", "pixels": [[9, 9], [9, 9]], "note": ""},
]
TEXT_ROWS = [{"note": "this is"}, {"note": "x"}, {"note": "é\x00ü and on to 24 bytes"}]


def test_the_directory_holds_what_it_needs_and_a_manifest_of_it(home, tmp_path):
    raymi("export", "classifier@candidate", "--output", tmp_path / "out")

    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES
    verify(tmp_path / "out")
    onnx.checker.check_model(onnx.load(tmp_path / "out" / "model.onnx"), full_check=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["classifier", "text"])
def test_the_script_alone_says_what_the_platform_says(home, bundle_of, tmp_path, name):
    rows = CLASSIFIER_ROWS if name == "classifier" else TEXT_ROWS
    raymi("export", f"{name}@1", "--output", tmp_path / "out")

    answers = run_alone(tmp_path / "out", rows, "--probabilities")

    expected = predictions_of_the_platform(bundle_of(name), rows)
    found = [list(answer["probabilities"].values()) for answer in answers]
    # The classifier was evaluated in bf16; the file computes in fp32.
    tolerance = 1e-5 if name == "text" else 1e-2
    np.testing.assert_allclose(found, expected.probabilities, atol=tolerance)
    assert [answer["label"] for answer in answers] == expected.labels
    assert [answer["probability"] for answer in answers] == [max(each) for each in found]


def test_numbers_come_in_the_targets_own_unit(home, bundle_of, tmp_path):
    bundle = bundle_of("regression")
    rows = [{"size": 12.5, "colour": "red", "pixels": [[0, 1], [3, 4]], "note": "words"}] * 2
    raymi("export", "regression@1", "--output", tmp_path / "out")

    answers = run_alone(tmp_path / "out", {"rows": rows})

    expected = predictions_of_the_platform(bundle, rows).values
    np.testing.assert_allclose([a["prediction"] for a in answers], expected, rtol=1e-5)


@pytest.mark.parametrize("package", ["torch", "ray", "pyarrow", "raymi", "onnx", "pydantic"])
def test_the_process_that_the_script_runs_in_has_no_other_package(tmp_path, package):
    script = tmp_path / "script.py"
    script.write_text(f"import numpy, onnxruntime\nimport {package}\n")

    done = subprocess.run(
        [sys.executable, "-I", bare_process.__file__, script],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert f"No module named '{package}'" in done.stderr


def test_the_comparison_covers_test_rows_gaps_and_unknown_values(home, tmp_path, bundle_of):
    document = json.loads(raymi("export", "classifier@1", "--output", tmp_path / "out", "--json"))

    assert document["directory"] == str(tmp_path / "out")
    written = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert written == {key: document[key] for key in written}
    assert written["model"] == "classifier@1"
    assert written["bundle"] == bundle_of("classifier").fingerprint
    assert written["num_test_rows"] > 30
    assert written["num_rows"] == written["num_test_rows"] + 128
    assert written["passed"] is True
    assert 0 < written["exact"]["max_abs_difference"] < 1e-5
    assert written["exact"] == {**written["exact"], "reference": "fp32", "labels_differ": 0}
    assert written["as_evaluated"]["reference"] == "bf16"
    assert written["as_evaluated"]["max_abs_difference"] > 1e-5


def test_int8_is_smaller_and_its_judgement_is_said(home, tmp_path):
    raymi("export", "classifier@1", "--output", tmp_path / "exact")
    output = raymi("export", "classifier@1", "--precision", "int8", "--output", tmp_path / "int8")

    written = json.loads((tmp_path / "int8" / "parity.json").read_text())
    assert 1e-5 < written["exact"]["max_abs_difference"] <= written["tolerance"]
    assert written["sentence"] in output
    assert written["sentence"] in (tmp_path / "int8" / "README.md").read_text()
    nodes = onnx.load(tmp_path / "int8" / "model.onnx").graph.node
    assert "MatMulInteger" in {node.op_type for node in nodes}


def test_the_readme_shows_commands_that_work(home, tmp_path):
    raymi("export", "text@1", "--output", tmp_path / "out")
    readme = (tmp_path / "out" / "README.md").read_text()

    assert "$ python run.py example.json" in readme
    done = subprocess.run(
        [sys.executable, "run.py", "example.json"],
        cwd=tmp_path / "out",
        capture_output=True,
        text=True,
        check=True,
    )
    (answer,) = json.loads(done.stdout)["predictions"]
    assert set(answer) == {"label", "probability"}


def test_the_default_directory_is_named_after_model_and_precision(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    raymi("export", "text@1")

    assert (tmp_path / "text-1-onnx-fp32" / "model.onnx").is_file()


def test_a_directory_that_exists_is_refused_and_left_alone(home, tmp_path):
    (tmp_path / "mine").write_text("my file")

    with pytest.raises(ConflictError, match="exists already") as refused:
        raymi("export", "text@1", "--output", tmp_path)

    assert refused.value.exit_code == 2
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_model_that_answers_otherwise_is_not_written(home, tmp_path, monkeypatch):
    tolerances = {p: parity.Tolerance(difference=1e-12, labels=0.0) for p in ServingPrecision}
    monkeypatch.setattr(parity, "TOLERANCES", tolerances)

    with pytest.raises(ExportError, match="unlike the registered model") as refused:
        raymi("export", "classifier@1", "--precision", "int8", "--output", tmp_path / "out")

    assert "differ by at most" in refused.value.why
    assert "allowed 1e-12" in refused.value.why
    assert "fp32" in refused.value.fix
    assert refused.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_script_that_fails_is_not_written_either(home, tmp_path, monkeypatch):
    broken = tmp_path / "raymi_that_is_broken"
    broken.mkdir()
    (broken / "standalone.py").write_text("raise SystemExit('no such thing')")
    (broken / "bare_process.py").write_bytes(Path(bare_process.__file__).read_bytes())
    monkeypatch.setattr(onnx_directory, "files", lambda _: broken)

    with pytest.raises(ExportError, match="does not run alone") as refused:
        raymi("export", "classifier@1", "--output", tmp_path / "out")

    assert refused.value.why == "no such thing"
    assert not (tmp_path / "out").exists()


def test_without_the_packages_it_says_which_to_install(home, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "find_spec", lambda name: None)

    with pytest.raises(CapabilityError, match="onnx with fp32") as refused:
        raymi("export", "text@1", "--output", tmp_path / "out")

    assert 'pip install "raymi[export]"' in refused.value.why


def test_a_model_that_is_not_there_is_not_found(home, tmp_path):
    with pytest.raises(NotFoundError):
        raymi("export", "text@9", "--output", tmp_path / "out")
