"""Every golden loss curve belongs to the spec beside it: a changed spec asks for a new one."""

from pathlib import Path

import pytest

from raymi.models.catalog import with_arguments
from raymi.specs.loading import load_spec
from raymi.train.baseline import Baseline
from raymi.train.problem import load_problem

ROOT = Path(__file__).parents[2]
BASELINES = sorted(ROOT.glob("jobs/*/baselines/*.json"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_baselines():
    assert ROOT / "jobs/digits/baselines/cpu.json" in BASELINES


@pytest.mark.parametrize("path", BASELINES, ids=name_of)
def test_a_baseline_is_of_the_spec_beside_it(path):
    problem = path.parent.parent
    spec = load_spec(problem / "train.yaml")

    baseline = Baseline.load(path)

    assert baseline.spec_fingerprint == spec.fingerprint(), (
        "train.yaml, or a default, has changed: run it and `raymi baseline record RUN_ID`"
    )
    assert baseline.problem == spec.problem == f"jobs.{problem.name}.problem"


@pytest.mark.parametrize("path", BASELINES, ids=name_of)
def test_a_baseline_is_of_the_network_beside_it(path):
    spec = load_spec(path.parent.parent / "train.yaml")

    architecture = with_arguments(load_problem(spec.problem).architecture, spec.model)

    assert Baseline.load(path).architecture == architecture, (
        "problem.py has changed: run train.yaml and `raymi baseline record RUN_ID`"
    )


@pytest.mark.parametrize("path", BASELINES, ids=name_of)
def test_a_baseline_is_named_for_its_hardware_and_has_learned_something(path):
    baseline = Baseline.load(path)

    assert path.stem == baseline.accelerator
    assert [point.epoch for point in baseline.curve] == list(range(1, len(baseline.curve) + 1))
    assert baseline.curve[-1].values["train_loss"] < baseline.curve[0].values["train_loss"]
