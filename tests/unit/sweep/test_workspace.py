"""The same command finds the sweep that was interrupted; only one driver works on it."""

from pathlib import Path

import pytest

from raymi.errors import ConflictError
from raymi.specs.loading import parse_spec
from raymi.specs.sweep import SweepSpec
from raymi.sweep.workspace import RECEIPT_FILE, open_workspace

TEXT = """
kind: sweep
train:
  name: digits
  problem: jobs.digits.problem
  data: digits
  batch: {global_batch_size: 64, micro_batch_size: 32}
space: {precision: [fp32, bf16]}
"""


def spec(extra: str = "") -> SweepSpec:
    found = parse_spec(TEXT + extra, where="sweep.yaml")
    assert isinstance(found, SweepSpec)
    return found


def visit(store_dir: Path, asked: SweepSpec, **options: bool) -> tuple[str, bool]:
    with open_workspace(asked, store_dir=store_dir, **options) as workspace:
        return workspace.sweep_id, workspace.is_continued


def test_an_interrupted_sweep_is_continued(tmp_path):
    first, _ = visit(tmp_path, spec())

    assert visit(tmp_path, spec()) == (first, True)


def test_another_spec_is_another_sweep(tmp_path):
    first, _ = visit(tmp_path, spec())

    second, is_continued = visit(tmp_path, spec("objective: quality\n"))

    assert second != first
    assert not is_continued


def test_a_finished_sweep_is_left_alone(tmp_path):
    first, _ = visit(tmp_path, spec())
    (tmp_path / "sweeps" / first / RECEIPT_FILE).write_text("{}")

    assert visit(tmp_path, spec())[0] != first


def test_an_interrupted_sweep_can_be_left_alone_too(tmp_path):
    first, _ = visit(tmp_path, spec())

    assert visit(tmp_path, spec(), starts_anew=True)[0] != first


def test_a_sweep_that_is_running_is_not_started_twice(tmp_path):
    with open_workspace(spec(), store_dir=tmp_path), pytest.raises(ConflictError) as caught:
        visit(tmp_path, spec())

    assert "--new" in caught.value.fix


def test_a_directory_that_was_not_finished_is_nobodys_sweep(tmp_path):
    first, _ = visit(tmp_path, spec())
    (tmp_path / "sweeps" / first / "started.json").write_text("{")

    assert visit(tmp_path, spec())[0] != first
