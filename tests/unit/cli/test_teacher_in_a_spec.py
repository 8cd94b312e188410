"""A spec with a teacher is checked without a registry."""

import json

from typer.testing import CliRunner

from raymi.cli.main import app

SPEC = """
kind: train
name: student
problem: jobs.digits.problem
data: digits
batch: {global_batch_size: 32, micro_batch_size: 32}
distillation: {teacher: digits@champion, weight: 0.7}
"""


def test_checking_a_spec_with_a_teacher_opens_no_registry(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYMI_HOME", str(tmp_path / "home"))
    (tmp_path / "train.yaml").write_text(SPEC)

    answer = CliRunner().invoke(
        app, ["check", str(tmp_path / "train.yaml"), "--json"], catch_exceptions=False
    )

    spec = json.loads(answer.output)["spec"]
    assert spec["distillation"] == {"teacher": "digits@champion", "weight": 0.7, "temperature": 2.0}
    assert not (tmp_path / "home").exists()
