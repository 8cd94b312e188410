"""Every YAML in the repository is what it says it is: a stale key breaks here, not in a job."""

from pathlib import Path

import pytest

from raymi.specs.loading import load_spec, parse_spec, resolved_yaml

ROOT = Path(__file__).parents[2]
SPEC_FILES = sorted([*(ROOT / "jobs").rglob("*.yaml"), *(ROOT / "serve_apps").rglob("*.yaml")])


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_specs():
    assert len(SPEC_FILES) >= 6


@pytest.mark.parametrize("path", SPEC_FILES, ids=name_of)
def test_a_spec_file_parses_and_its_resolved_form_reproduces_it(path):
    spec = load_spec(path)

    again = parse_spec(resolved_yaml(spec), where="resolved")

    assert again.fingerprint() == spec.fingerprint()


@pytest.mark.parametrize("path", SPEC_FILES, ids=name_of)
def test_a_file_is_named_for_its_kind(path):
    assert path.stem.partition(".")[0] == load_spec(path).kind


@pytest.mark.parametrize("problem", sorted(p.parent.name for p in ROOT.glob("jobs/*/problem.py")))
def test_each_problem_has_a_run_and_a_sweep(problem):
    assert (ROOT / "jobs" / problem / "train.yaml").is_file()
    assert (ROOT / "jobs" / problem / "sweep.yaml").is_file()
