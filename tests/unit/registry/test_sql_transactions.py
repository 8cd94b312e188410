"""In SQL, a change happens whole or not at all, and writers queue up instead of colliding."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DatabaseError

from raymi.evaluate.result import Interval
from raymi.registry.store import SqlModelStore
from raymi.registry.version import ModelSummary


def register(root: Path, run: int) -> int:
    """What one process does: open the registry, perhaps as the first, and register a run."""
    store = SqlModelStore(f"sqlite:///{root / 'raymi.db'}", root / "models")
    summary = ModelSummary(
        run_id=f"run-{run}",
        metrics={"accuracy": 0.9},
        primary_metric="accuracy",
        interval=Interval(low=0.8, high=1.0, method="wilson"),
        precision="fp32",
        micro_batch_size=32,
        dataset={},
    )
    version = store.register(
        "digits", summary, lambda d: (d / "w").write_text(f"{run}") and None, by="ada"
    )
    assert (Path(version.path) / "w").read_text() == f"{run}"
    return version.version


@pytest.fixture
def store(tmp_path):
    for run in (1, 2):
        register(tmp_path, run)
    return SqlModelStore(f"sqlite:///{tmp_path / 'raymi.db'}", tmp_path / "models")


def fail_when(tmp_path, statement):
    """Make the database itself refuse, as a full disk would."""
    engine = create_engine(f"sqlite:///{tmp_path / 'raymi.db'}")
    with engine.begin() as connection:
        connection.execute(
            text(f"CREATE TRIGGER t BEFORE {statement} BEGIN SELECT RAISE(ABORT, 'no'); END")
        )
    engine.dispose()


MIDDLES = ["INSERT ON model_events", "INSERT ON model_aliases WHEN NEW.alias = 'previous'"]


@pytest.mark.parametrize("statement", MIDDLES)
def test_a_promotion_that_fails_in_the_middle_changes_nothing(store, tmp_path, statement):
    store.promote("digits", 1, by="ada", reason="")
    before, history = store.aliases("digits"), store.history("digits")
    fail_when(tmp_path, statement)

    with pytest.raises(DatabaseError):
        store.promote("digits", 2, by="ada", reason="")

    assert store.aliases("digits") == before
    assert store.history("digits") == history


@pytest.mark.parametrize("statement", [MIDDLES[0], "UPDATE ON model_aliases"])
def test_a_rollback_that_fails_in_the_middle_changes_nothing(store, tmp_path, statement):
    store.promote("digits", 1, by="ada", reason="")
    store.promote("digits", 2, by="ada", reason="")
    before = store.aliases("digits")
    fail_when(tmp_path, statement)

    with pytest.raises(DatabaseError):
        store.rollback("digits", by="ada", reason="")

    assert store.aliases("digits") == before


@pytest.mark.parametrize("statement", [*MIDDLES[:1], "UPDATE ON model_aliases"])
def test_a_registration_that_fails_in_the_middle_leaves_no_bundle(store, tmp_path, statement):
    fail_when(tmp_path, statement)

    with pytest.raises(DatabaseError):
        register(tmp_path, 3)

    assert sorted(p.name for p in (tmp_path / "models" / "digits").iterdir()) == ["1", "2"]
    assert store.aliases("digits") == {"candidate": 2}


def test_processes_that_register_at_once_get_different_numbers(tmp_path):
    script = (
        "import importlib.util, pathlib, sys\n"
        "spec = importlib.util.spec_from_file_location('here', sys.argv[1])\n"
        "here = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(here)\n"
        "for run in sys.argv[3].split(','):\n"
        "    here.register(pathlib.Path(sys.argv[2]), int(run))\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, __file__, str(tmp_path), runs])
        for runs in ("1,2,3,4,5", "6,7,8,9,10")
    ]

    assert [process.wait() for process in processes] == [0, 0]

    store = SqlModelStore(f"sqlite:///{tmp_path / 'raymi.db'}", tmp_path / "models")
    assert [v.version for v in store.list("digits")] == list(range(1, 11))
    assert {v.run_id for v in store.list("digits")} == {f"run-{run}" for run in range(1, 11)}


def test_threads_that_register_one_run_at_once_get_one_version(tmp_path):
    with ThreadPoolExecutor(6) as pool:
        versions = list(pool.map(register, [tmp_path] * 6, [1] * 6))

    assert versions == [1] * 6
    assert [p.name for p in (tmp_path / "models" / "digits").iterdir()] == ["1"]


def test_a_store_that_moves_is_still_whole(store, tmp_path):
    moved = (tmp_path / "models").rename(tmp_path / "elsewhere")

    again = SqlModelStore(f"sqlite:///{tmp_path / 'raymi.db'}", moved)

    assert again.promote("digits", 2, by="ada", reason="").path == str(moved / "digits" / "2")
