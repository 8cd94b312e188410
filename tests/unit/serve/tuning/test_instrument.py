"""A way that fails, hangs or brings its process down is out with its reason; the others go on."""

import subprocess
import sys

import pytest

from raymi.serve.tuning import instrument as instrument_module
from raymi.serve.tuning.instrument import Instrument, Subject
from raymi.serve.tuning.ways import Way

GOOD = Way(backend="eager", precision="fp32")
BAD = Way(backend="eager", precision="bf16")

WORKBENCH = """
import json, sys, time
opened = False
for line in sys.stdin:
    request = json.loads(line)
    if not opened:
        assert "bundle" in request, "the first request says what is measured"
        answer, opened = OPENING, "error" not in OPENING
    elif request["precision"] == "bf16":
        BAD
    else:
        answer = {"pass_s": 0.5}
    print(json.dumps(answer), flush=True)
"""

FAULTS = {
    "answer = {'error': 'no such type'}": "no such type",
    "sys.exit(3)": "its process ended with code 3",
    "print('{\"pass_s\"', end='', flush=True); sys.exit(4)": "its process ended with code 4",
    "time.sleep(60)": "it did not answer within 1 s",
}


@pytest.fixture
def open_instrument(tmp_path, monkeypatch):
    monkeypatch.setattr(instrument_module, "_ANSWER_TIMEOUT_S", 1.0)
    monkeypatch.setattr(instrument_module, "_STOP_TIMEOUT_S", 0.1)

    def open_it(fault, opening="{}"):
        script = WORKBENCH.replace("OPENING", opening).replace("BAD", fault)
        monkeypatch.setattr(
            Instrument,
            "_start",
            lambda self: subprocess.Popen(
                [sys.executable, "-c", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            ),
        )
        subject = Subject(
            tmp_path, "ab", tmp_path, tmp_path, 1, uses_accelerator=False, log=tmp_path / "log"
        )
        return Instrument(subject, (GOOD, BAD))

    return open_it


def time_both(instrument):
    with instrument:
        return instrument.time_passes(
            {0: (1,), 1: (1,)}, rounds=3, seed=0, say=lambda _: None, is_hopeless=lambda *_: False
        )


@pytest.mark.parametrize(("fault", "reason"), FAULTS.items())
def test_one_way_is_out_with_its_reason_and_the_other_is_measured(open_instrument, fault, reason):
    instrument = open_instrument(fault)

    passes = time_both(instrument)

    assert instrument.broken == {1: reason}
    assert [(one.way, one.pass_s) for one in passes] == [(0, 0.5)] * 3


def test_a_model_that_cannot_be_opened_is_the_reason_for_every_way(open_instrument):
    instrument = open_instrument("pass", opening="{'error': 'damaged'}")

    assert time_both(instrument) == ()
    assert instrument.broken == {0: "damaged", 1: "damaged"}
