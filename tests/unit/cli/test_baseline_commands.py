"""`raymi baseline record` keeps a run's curve; `check` compares another with it, by exit code."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from raymi.cli.main import app
from raymi.errors import ConflictError, NotFoundError
from raymi.train.baseline import Baseline
from raymi.train.events import EVENTS_FILE, EventLog
from raymi.train.run_files import RESULT_FILE

SPEC = "kind: train\n"
RESULT = {
    "problem": "jobs.digits.problem",
    "spec_fingerprint": "a" * 64,
    "architecture": {"name": "cnn", "arguments": {}},
    "dataset": {"fingerprint": "d" * 64},
    "primary_metric": "accuracy",
    "samples_per_s": 1234.5,
    "provenance": {"hardware": {"accelerator": "cpu"}, "environment": {"torch": "2.13.0"}},
}


def raymi(*arguments):
    return CliRunner().invoke(app, ["baseline", *arguments], catch_exceptions=False)


@pytest.fixture
def write_run(tmp_path, monkeypatch):
    """Write a finished run of two epochs into a store of its own; stand where `jobs/` is."""
    monkeypatch.setenv("RAYMI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAYMI_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs/digits").mkdir(parents=True)
    (tmp_path / "jobs/digits/train.yaml").write_text(SPEC)

    def write(run_id, *, last_loss=0.5):
        run_dir = tmp_path / "home/store/runs" / run_id
        run_dir.mkdir(parents=True)
        log = EventLog(run_dir / EVENTS_FILE)
        log.append("attempt", step=0, num_workers=2)
        for epoch, loss in enumerate((0.9, last_loss), start=1):
            log.append("epoch", epoch=epoch, train_loss=loss, loss=loss, accuracy=0.9)
        (run_dir / RESULT_FILE).write_text(json.dumps(RESULT))

    return write


def test_a_recorded_run_is_found_beside_its_spec_and_is_as_recorded(write_run, tmp_path):
    write_run("good")

    recorded = raymi("record", "good")

    path = tmp_path / "jobs/digits/baselines/cpu.json"
    assert "jobs/digits/baselines/cpu.json: 2 epochs" in recorded.output
    assert Baseline.load(path).tolerance.reason
    checked = raymi("check", "good")
    assert checked.exit_code == 0
    assert "all 2 epochs are as recorded" in checked.output


def test_a_run_within_the_tolerance_is_as_recorded(write_run):
    write_run("good")
    write_run("rounded", last_loss=0.5001)
    raymi("record", "good")

    assert raymi("check", "rounded").exit_code == 0


def test_a_run_outside_of_it_exits_1_and_shows_the_epochs(write_run):
    write_run("good")
    write_run("bad", last_loss=0.7)
    raymi("record", "good")

    checked = raymi("check", "bad")

    assert checked.exit_code == 1
    lines = [line.split() for line in checked.output.splitlines()]
    assert ["2", "train_loss", "0.5", "0.7", "0.03"] in lines
    assert ["2", "loss", "0.5", "0.7", "0.03"] in lines
    assert not any(line[:1] == ["1"] for line in lines)
    assert "why that much" in checked.output


def test_the_differences_are_json_for_programs(write_run):
    write_run("good")
    write_run("bad", last_loss=0.7)
    raymi("record", "good")

    checked = raymi("check", "bad", "--json")

    assert checked.exit_code == 1
    assert [d["quantity"] for d in json.loads(checked.output)] == ["train_loss", "loss"]
    assert json.loads(raymi("check", "good", "--json").output) == []


def test_a_tolerance_of_ones_own_is_kept_with_its_reason(write_run, tmp_path):
    write_run("good")
    write_run("bad", last_loss=0.7)

    raymi("record", "good", "--relative", "0.5", "--reason", "measured so")

    kept = Baseline.load(tmp_path / "jobs/digits/baselines/cpu.json")
    assert (kept.tolerance.relative, kept.tolerance.reason) == (0.5, "measured so")
    assert raymi("check", "bad").exit_code == 0


def test_a_missing_baseline_says_how_to_record_one(write_run):
    write_run("good")

    with pytest.raises(NotFoundError, match="no baseline for cpu") as caught:
        raymi("check", "good")

    assert "raymi baseline record good" in caught.value.fix


def test_another_folder_may_be_named(write_run, tmp_path):
    write_run("good")
    shutil.move(tmp_path / "jobs/digits", tmp_path / "elsewhere")

    raymi("record", "good", "--problem", "elsewhere")

    assert (tmp_path / "elsewhere/baselines/cpu.json").is_file()


def test_where_there_is_no_problem_nothing_is_written(write_run, tmp_path, monkeypatch):
    write_run("good")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")

    with pytest.raises(NotFoundError, match="not a problem's directory"):
        raymi("record", "good")

    assert list((tmp_path / "empty").iterdir()) == []


def test_a_run_of_another_spec_is_not_compared(write_run, tmp_path):
    write_run("good")
    raymi("record", "good")
    path = tmp_path / "jobs/digits/baselines/cpu.json"
    Baseline.load(path).model_copy(update={"spec_fingerprint": "b" * 64}).save(path)

    with pytest.raises(ConflictError, match="cannot be compared"):
        raymi("check", "good")
