"""A receipt is checked and shown from its file alone, quickly, without torch or Ray."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raymi.cli.main import app
from raymi.errors import IntegrityError, NotFoundError, SpecError
from raymi.specs.sweep import SweepSpec
from raymi.sweep.evidence import Evidence, ProbeEvidence, Window
from raymi.sweep.receipt import Receipt
from raymi.sweep.setting import list_settings

SPEC = {
    "kind": "sweep",
    "train": {
        "name": "rows",
        "problem": "jobs.digits.problem",
        "data": "digits",
        "batch": {"global_batch_size": 64, "micro_batch_size": 16},
        "epochs": 1,
    },
    "space": {"batch.micro_batch_size": [16, 64]},
}


@pytest.fixture(scope="module")
def sealed() -> Receipt:
    """Two cuts of one computation; the larger micro-batch steps twice as fast."""
    spec = SweepSpec.from_document(SPEC)
    settings, reference = list_settings(spec)
    windows = [
        Window(
            setting=setting.index,
            is_control=is_control,
            round=number,
            num_steps=10,
            duration_s=(1.0 if setting.micro_batch_size == 16 else 0.5) + number / 1000,
        )
        for number in range(8)
        for setting, is_control in [(s, False) for s in settings] + [(settings[reference], True)]
    ]
    evidence = Evidence(
        sweep_id="rows-1",
        spec=spec.to_document(),
        spec_fingerprint=spec.fingerprint(),
        settings=settings,
        reference=reference,
        accelerator="cpu",
        dataset={"name": "rows", "num_rows": {"train": 640, "validation": 100, "test": 100}},
        num_train_rows=640,
        metric="accuracy",
        higher_is_better=True,
        probe=ProbeEvidence(windows=tuple(windows)),
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return Receipt.seal(evidence, created_at=datetime(2026, 1, 2, tzinfo=UTC))


@pytest.fixture
def file(sealed, tmp_path) -> Path:
    path = tmp_path / "receipt.json"
    sealed.save(path)
    return path


def raymi(*arguments: str):
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def change(file: Path, edit) -> None:
    document = json.loads(file.read_text())
    edit(document)
    file.write_text(json.dumps(document))


def test_a_receipt_that_holds_says_so_in_one_line(file):
    done = raymi("receipt", "verify", str(file))

    assert done.exit_code == 0
    assert done.output == (
        "holds: micro_batch_size=64 wins; "
        "2 settings, 24 timed windows, 0 runs, 0 row scores checked\n"
    )


def test_a_better_number_in_the_decision_does_not_hold(file):
    change(file, lambda d: d["decision"]["timings"][0].update(samples_per_s=99999.0))

    done = raymi("receipt", "verify", str(file))

    assert done.exit_code == 1
    first, *rest = done.output.splitlines()
    assert first == "does not hold: 2 differences"
    assert any("timings[0].samples_per_s" in line and "99999.0" in line for line in rest)


def test_a_raw_number_that_was_changed_does_not_hold_either(file):
    change(file, lambda d: d["evidence"]["probe"]["windows"][0].update(duration_s=0.25))

    document = json.loads(raymi("receipt", "verify", str(file), "--json").output)

    assert document["holds"] is False
    assert document["differences"][0].startswith("sha256: ")


def test_programs_get_what_was_checked_and_what_was_decided(file, sealed):
    document = json.loads(raymi("receipt", "verify", str(file), "--json").output)

    assert document["holds"] is True
    assert document["differences"] == []
    assert (document["winner"], document["winner_label"]) == (1, "micro_batch_size=64")
    assert document["sentence"] == sealed.decision.sentence
    assert document["num_windows"] == 24


@pytest.mark.parametrize("content", ["not json", "[1, 2]", '{"kind": "sweep"}', ""])
def test_another_file_is_not_a_receipt(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content)

    for command in ("verify", "show"):
        with pytest.raises(SpecError, match="is not a receipt"):
            raymi("receipt", command, str(path))


def test_a_missing_file_is_not_found(tmp_path):
    for command in ("verify", "show"):
        with pytest.raises(NotFoundError, match="no file"):
            raymi("receipt", command, str(tmp_path / "absent.json"))


def test_a_receipt_is_shown_as_the_sweep_showed_it(file, sealed):
    output = raymi("receipt", "show", str(file)).output

    assert sealed.decision.sentence in output
    assert "micro-batch" in output
    assert sealed.sha256[:12] in output
    document = json.loads(raymi("receipt", "show", str(file), "--json").output)
    assert document["decision"]["winner"] == 1


def test_a_receipt_that_was_changed_is_not_shown(file):
    change(file, lambda d: d["decision"].update(sentence="I win."))

    with pytest.raises(IntegrityError, match=r"not a receipt as .* wrote it"):
        raymi("receipt", "show", str(file))


def test_checking_loads_neither_torch_nor_ray(file):
    script = (
        "import json, sys\n"
        "from typer.testing import CliRunner\n"
        "from raymi.cli.main import app\n"
        f"done = CliRunner().invoke(app, ['receipt', 'verify', {str(file)!r}])\n"
        "assert done.exit_code == 0, done.output\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert not {"torch", "ray"} & set(json.loads(done.stdout))
