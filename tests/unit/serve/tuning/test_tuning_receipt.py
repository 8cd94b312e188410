"""The receipt of a tuning is refused clearly where it is not what it says, as a sweep's is."""

import json

import pytest

from raymi.errors import IntegrityError
from raymi.serve.tuning.receipt import TuningReceipt
from raymi.sweep.receipt import Receipt
from tests.unit.serve.tuning.conftest import load

EITHER = pytest.mark.parametrize("kind", [TuningReceipt, Receipt])
WRITERS = {TuningReceipt: "raymi tune-serving", Receipt: "jobs/sweep.py"}


@pytest.fixture
def path(evidence, tmp_path):
    measured = evidence(runs=(load(0, p99_ms=5.0), load(0, p99_ms=5.0, number=1)))
    path = tmp_path / "receipt.json"
    TuningReceipt.seal(measured, created_at=measured.started_at).save(path)
    return path


def change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_was_saved_is_what_is_loaded(path):
    loaded = TuningReceipt.load(path)

    assert loaded.decision.winner == 0
    assert TuningReceipt.verify(path) == ()


@EITHER
@pytest.mark.parametrize("content", [b"{ no json", b"", b"[1]", b"\xff\xfe", b'{"kind": "sweep"}'])
def test_another_file_is_three_lines_that_name_it(tmp_path, kind, content):
    path = tmp_path / "receipt.json"
    path.write_bytes(content)

    for read in (kind.load, kind.verify, kind.load_unchecked):
        with pytest.raises(IntegrityError) as refused:
            read(path)
        assert str(path) in refused.value.what
        assert WRITERS[kind] in refused.value.what
        assert len(str(refused.value).splitlines()) == 3


def test_a_receipt_of_the_other_kind_says_who_wrote_which(path):
    with pytest.raises(IntegrityError, match="another kind") as refused:
        Receipt.load(path)

    assert "tune_serving" in refused.value.why
    assert "jobs/sweep.py" in refused.value.fix


def test_a_wrong_checksum_is_not_loaded_and_verify_says_which(path):
    change(path, sha256="0" * 64)

    with pytest.raises(IntegrityError, match="the receipt says 0000") as refused:
        TuningReceipt.load(path)
    assert len(str(refused.value).splitlines()) == 3
    assert TuningReceipt.verify(path)[0].startswith("sha256: the receipt says 0000")


def test_another_version_that_decides_otherwise_is_named(path):
    change(path, raymi="0.0.1", decision=json.loads(path.read_text())["decision"] | {"winner": 1})

    assert any("decided by 0.0.1" in line for line in TuningReceipt.verify(path))


def test_a_receipt_of_another_format_says_which(path):
    change(path, format=2)

    with pytest.raises(IntegrityError, match="a receipt of format 2"):
        TuningReceipt.verify(path)
