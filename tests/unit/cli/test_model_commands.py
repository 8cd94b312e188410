"""The model commands list, show, promote, roll back and verify, and say the same in JSON."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raymi.cli.main import app
from raymi.errors import ConflictError, IntegrityError, NotFoundError, SpecError
from raymi.evaluate import stage as evaluate_stage
from raymi.registry import stage as registry_stage
from raymi.registry.store import BUNDLES, SqlModelStore, open_store


@pytest.fixture(scope="session")
def registry_home(classifier_run, tmp_path_factory):
    """A home with `things@1` and `things@2`, neither promoted; a registry may be copied."""
    home = tmp_path_factory.mktemp("home")
    store = SqlModelStore(f"sqlite:///{home / 'raymi.db'}", home / "store" / BUNDLES)
    for run_id in ("run-1", "run-2"):
        result = classifier_run.result.model_copy(update={"run_id": run_id})
        evaluation = evaluate_stage.run(result, store_dir=classifier_run.store_dir)
        registry_stage.run(result, evaluation, store=store, store_dir=classifier_run.store_dir)
    return home


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Where this process keeps its registry while the test runs."""
    monkeypatch.setenv("RAYMI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAYMI_STORE", raising=False)
    monkeypatch.delenv("RAYMI_DATABASE_URL", raising=False)
    return tmp_path / "home"


@pytest.fixture
def two_versions(home, registry_home):
    """A copy of that home."""
    shutil.copytree(registry_home, home)


def raymi(*arguments: str) -> str:
    """Run a command in this process; errors come out as they are."""
    return CliRunner().invoke(app, arguments, catch_exceptions=False).output


def test_a_listing_shows_aliases_metric_and_settings(two_versions):
    raymi("promote", "things@1")

    first, second = json.loads(raymi("models", "things", "--json"))

    assert (first["version"], first["aliases"]) == (1, ["champion"])
    assert (second["version"], second["aliases"]) == (2, ["candidate"])
    assert (first["precision"], first["micro_batch_size"]) == ("bf16", 16)
    table = raymi("models")
    assert f"accuracy {first['metrics']['accuracy']:.4f}" in table
    assert first["dataset"]["fingerprint"][:12] in table


def test_an_empty_registry_says_what_to_do(home):
    assert "jobs/train.py" in raymi("models")
    assert json.loads(raymi("models", "--json")) == []


def test_a_model_is_shown_with_contract_metrics_and_origin(two_versions):
    document = json.loads(raymi("model", "things@candidate", "--json"))

    assert document["version"] == 2
    assert [f["name"] for f in document["signature"]["inputs"]][:2] == ["size", "colour"]
    assert document["lineage"]["run_id"] == "run-2"
    text = raymi("model", "things@2")
    for fact in ("things@2 (candidate)", document["fingerprint"], "run-2", "UINT8", "shape=round"):
        assert fact in text


def test_promotion_and_rollback_say_who_is_champion_now(two_versions):
    assert raymi("promote", "things@1").strip() == "things@1 is champion"
    assert "things@2 is champion, things@1 is previous" in raymi("promote", "things@candidate")
    assert "things@1 is champion again, things@2 is previous" in raymi("rollback", "things")
    assert "already" in raymi("promote", "things@1")


def test_history_is_shown_with_reasons(two_versions):
    raymi("promote", "things@1", "--reason", "better on [red] rows")

    events = json.loads(raymi("models", "things", "--history", "--json"))

    assert [event["action"] for event in events] == ["register", "register", "promote"]
    assert "better on [red] rows" in raymi("models", "things", "--history")


def test_verification_reads_every_byte(two_versions):
    assert "every byte is as registered" in raymi("verify", "things@2")
    weights = Path(open_store().get("things", 2).path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")

    with pytest.raises(IntegrityError, match="model"):
        raymi("verify", "things@2")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["models", "nobody"], NotFoundError),
        (["model", "nobody@1"], NotFoundError),
        (["model", "things"], SpecError),
        (["promote", "things@9"], NotFoundError),
        (["rollback", "things"], ConflictError),
        (["models", "--history"], SpecError),
    ],
)
def test_what_cannot_be_done_is_an_error_with_exit_code_2(two_versions, arguments, error):
    with pytest.raises(error) as caught:
        raymi(*arguments)

    assert caught.value.exit_code == 2


def test_neither_torch_nor_ray_is_loaded(two_versions):
    script = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from raymi.cli.main import app\n"
        "for line in ('models', 'model things@1', 'promote things@1', 'verify things@1'):\n"
        "    assert CliRunner().invoke(app, line.split()).exit_code == 0, line\n"
        "    assert not {'torch', 'ray'} & sys.modules.keys(), line\n"
    )

    done = subprocess.run([sys.executable, "-c", script], check=False)

    assert done.returncode == 0
