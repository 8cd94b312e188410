"""The cluster commands say what is, in words or in JSON, and their exit codes can be relied on."""

import json

import pytest
from typer.testing import CliRunner

from raymi.accelerators.partitions import SeenDevice, recognise
from raymi.cli.main import app
from raymi.control import head_report
from raymi.control.head_state import ensure_token


@pytest.fixture
def raymi(files, monkeypatch):
    monkeypatch.setenv("RAYMI_HOME", str(files.home))
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_status_without_a_head_exits_with_3_and_says_what_to_do(raymi):
    answer = raymi("status")

    assert answer.exit_code == 3
    assert answer.stdout.splitlines()[0] == "down: no local head has been started"


def test_status_of_a_dead_head_shows_why_it_ended(raymi, files, head):
    ensure_token(files.token)
    files.log.write_text("raylet [exit code=-9]\n")
    head.model_copy(update={"pid": 4_194_305, "create_time": 1.0, "ready": True}).save(files.state)

    answer = raymi("status", "--json")

    report = json.loads(answer.stdout)
    assert answer.exit_code == 3
    assert report["condition"] == "dead"
    assert "exit code=-9" in report["last_words"]


def test_status_says_how_a_host_is_partitioned_whoever_started_its_ray(raymi, monkeypatch):
    found = recognise([SeenDevice("AMD-Instinct-MI300X-OAM", 38, None, "NPS4")] * 64)
    monkeypatch.setattr(head_report, "host_partitions", lambda: found)

    words, document = raymi("status").stdout, json.loads(raymi("status", "--json").stdout)

    assert "8 x MI300X in CPX/NPS4: 64 devices of 38 CUs, 24 GiB" in words
    assert "never one data-parallel run" in words
    assert document["partitions"][0]["num_packages"] == 8


def test_down_without_a_head_is_fine(raymi):
    answer = raymi("down", "--json")

    assert answer.exit_code == 0
    assert json.loads(answer.stdout) == {"stopped": False}


def test_env_without_a_head_prints_nothing_a_shell_would_read(raymi):
    answer = raymi("env")

    assert answer.exit_code != 0
    assert answer.stdout == ""


def test_lines_that_undo_need_no_head(raymi):
    answer = raymi("env", "--unset")

    assert answer.exit_code == 0
    assert "unset RAY_AUTH_TOKEN_PATH" in answer.stdout.splitlines()
