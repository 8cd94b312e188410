"""What a tuning has measured is written down, also if its cluster goes away in the middle."""

import sys
from types import SimpleNamespace

import pytest

from raymi.cli import tune_serving
from raymi.cli.main import main
from raymi.errors import UnreachableError
from raymi.registry import store
from raymi.serve.tuning import stage
from raymi.serve.tuning.left_behind import TUNINGS
from raymi.serve.tuning.receipt import TuningReceipt
from raymi.settings import settings
from tests.unit.serve.tuning.conftest import load

GONE = UnreachableError("http://cluster:8265: no answer", why="refused", fix="raymi up")
DIGITS = SimpleNamespace(name="digits", reference="digits@1", path="/models/1", fingerprint="ab")


@pytest.fixture
def tune(tmp_path, monkeypatch, evidence):
    """`raymi tune-serving` on a cluster whose every load but the first ends in an error."""
    monkeypatch.setenv("RAYMI_HOME", str(tmp_path))
    monkeypatch.delenv("RAYMI_STORE", raising=False)
    cluster = SimpleNamespace(
        client=SimpleNamespace(status=dict, free_cpus=lambda: 2.0), serve_port=8000
    )
    monkeypatch.setattr(tune_serving, "find_cluster", lambda: cluster)
    monkeypatch.setattr(store, "open_store", lambda: SimpleNamespace(resolve=lambda _: DIGITS))
    monkeypatch.setattr(stage, "load_bundle", lambda *_, **__: None)
    monkeypatch.setattr(stage, "_free_cpus", lambda client: client.free_cpus())
    monkeypatch.setattr(stage, "_begin", lambda *_: evidence())
    monkeypatch.setattr(stage, "_compute", lambda _, found: found)
    monkeypatch.setattr(stage, "_rows", lambda *_: [{"x": 1}])

    def tune(error):
        measured = []

        def measure(index, *_, number, **__):
            if measured:
                raise error
            measured.append(index)
            return load(index, p99_ms=5.0, number=number)

        monkeypatch.setattr(stage, "measure", measure)
        command = ["raymi", "tune-serving", "digits@1", "--set", "objective.rate_per_s=200"]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        (directory,) = (settings().store_dir / TUNINGS).iterdir()
        return ended.value.code, directory

    return tune


@pytest.mark.parametrize(
    ("error", "code", "why"),
    [(GONE, 3, "http://cluster:8265: no answer"), (KeyboardInterrupt(), 130, "it was interrupted")],
)
def test_what_was_measured_before_is_in_the_receipt_and_on_the_page(tune, error, code, why):
    found, directory = tune(error)

    receipt = TuningReceipt.load(directory / "receipt.json")
    assert found == code
    assert receipt.evidence.stopped_by == why
    assert len(receipt.evidence.runs) == 1
    assert why in (directory / "report.html").read_text(encoding="utf-8")
