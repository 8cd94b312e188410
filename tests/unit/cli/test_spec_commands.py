"""The commands about specs answer without a cluster, and say no in three lines with exit code 2."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raymi.cli.main import app
from raymi.errors import ConflictError, RaymiError, SpecError
from raymi.specs.loading import load_spec


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def refusal(*arguments: str) -> RaymiError:
    with pytest.raises(RaymiError) as caught:
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    return caught.value


@pytest.fixture
def train_yaml(repository: Path) -> str:
    return str(repository / "jobs" / "digits" / "train.yaml")


def test_a_good_spec_is_said_to_be_good(train_yaml):
    assert "a valid train spec" in run("check", train_yaml)


def test_the_resolved_spec_can_be_submitted_again(train_yaml, tmp_path):
    resolved = run("check", train_yaml, "--set", "epochs=3", "--resolved")
    (tmp_path / "again.yaml").write_text(resolved)

    assert load_spec(tmp_path / "again.yaml") == load_spec(Path(train_yaml), ["epochs=3"])


def test_programs_get_json(train_yaml):
    document = json.loads(run("check", train_yaml, "--json"))

    assert document["kind"] == "train"
    assert len(document["fingerprint"]) == 64


def test_a_precision_that_the_named_accelerator_lacks_is_refused(train_yaml):
    cpu = ("--set", "resources.accelerator=cpu", "--set", "precision=fp8")

    error = refusal("check", train_yaml, *cpu)

    assert error.exit_code == 2
    assert "fp8" in error.what
    assert "fp32" in error.fix


def test_a_sweep_with_some_impossible_trials_says_which(repository):
    sweep = str(repository / "jobs" / "digits" / "sweep.yaml")
    space = "space.precision=[fp32, tf32]"

    output = run("check", sweep, "--set", "train.resources.accelerator=cpu", "--set", space)

    assert "tf32 cannot be used on cpu" in output


def test_one_field_is_explained_with_its_limits():
    output = run("explain", "train.batch.micro_batch_size")

    assert "int (> 0)" in output
    assert "required" in output


def test_a_kind_is_explained_field_by_field():
    facts = json.loads(run("explain", "sweep", "--json"))

    assert {"sweep.objective", "sweep.train.precision"} <= {fact["field"] for fact in facts}
    assert all(fact["meaning"] for fact in facts)


def test_a_misspelt_path_is_corrected():
    assert "micro_batch_size" in refusal("explain", "train.batch.micro_batch").why


def test_a_new_problem_can_be_checked_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    run("init", "wine", "--data", "wine")

    assert "valid" in run("check", "jobs/wine/train.yaml")
    assert "4 trials" in run("check", "jobs/wine/sweep.yaml")


def test_a_new_problem_never_overwrites(tmp_path):
    command = ("init", "wine", "--data", "wine", "--root", str(tmp_path))
    run(*command)

    assert isinstance(refusal(*command), ConflictError)


@pytest.mark.parametrize("name", ["My-Problem", "2nd", "../up", ""])
def test_a_name_that_python_cannot_import_is_refused(name, tmp_path):
    error = refusal("init", name, "--data", "wine", "--root", str(tmp_path))

    assert isinstance(error, SpecError)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_is_three_lines_on_standard_error_and_exit_code_2(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "raymi", "check", str(tmp_path / "nowhere.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, "")
    labels = [line.partition(":")[0].strip() for line in done.stderr.splitlines()]
    assert labels == ["error", "why", "try"]
