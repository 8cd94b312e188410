"""Benchmarks hand programs JSON and nothing else; progress and what others print go elsewhere."""

import json

import pytest
from typer.testing import CliRunner

from raymi.bench import sweep_cost
from raymi.bench.sweep_cost import SweepCost
from raymi.bench.sweep_verdict import Truth
from raymi.cli.main import app
from raymi.specs.loading import load_spec
from raymi.sweep.setting import list_settings


@pytest.fixture
def measured(monkeypatch, repository):
    """A search that was measured, talked of, and printed about by somebody else."""

    settings, _ = list_settings(load_spec(repository / "jobs/digits/sweep.yaml"))

    def measure(spec, *, num_seeds, store_dir, say):
        say("grid: every setting, fully")
        print("(raylet) something that Ray says")  # noqa: T201 - as Ray does
        return SweepCost(
            settings=settings,
            accelerator_seconds={"grid": 1000.0, "asha": 500.0, "raymi": 125.0},
            winner={"grid": 3, "asha": 0, "raymi": 2},
            truth=Truth(winner=3, best=(2, 3)),
        )

    monkeypatch.setattr(sweep_cost, "measure", measure)


def test_programs_get_who_found_the_best_setting_at_which_cost(measured):
    result = CliRunner().invoke(app, ["bench", "sweep", "--json"], catch_exceptions=False)

    document = json.loads(result.stdout)
    assert document["accelerator_seconds"] == {"grid": 1000.0, "asha": 500.0, "raymi": 125.0}
    assert document["ratio_to_grid"] == 0.125
    assert document["winner"] == {
        "grid": "precision=bf16 micro_batch_size=32",
        "asha": "precision=fp32 micro_batch_size=8",
        "raymi": "precision=bf16 micro_batch_size=8",
        "truth": "precision=bf16 micro_batch_size=32",
    }
    assert document["is_right"] == {"grid": True, "asha": False, "raymi": True}
    assert "grid: every setting" in result.stderr
    assert "(raylet)" in result.stderr


def test_people_get_a_table_and_what_is_not_told_apart(measured):
    output = CliRunner().invoke(app, ["bench", "sweep"], catch_exceptions=False).stdout

    assert "0.125x" in output
    assert "not told apart from it: precision=bf16 micro_batch_size=8" in output
