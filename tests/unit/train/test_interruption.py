"""SIGTERM and a note in the run's directory both ask, and neither kills a training worker."""

import os
import signal
import subprocess
import sys

import pytest

from raymi.train.interruption import Cause, LeaveNote, told_to_stop

WORKER = """
import os, signal
from pathlib import Path
from raymi.train.interruption import LeaveNote, cause_to_leave, listen_for_sigterm, training

listen_for_sigterm()
with training():
    os.kill(os.getpid(), signal.SIGTERM)
    print(cause_to_leave(LeaveNote(Path("nowhere"))).value, flush=True)
os.kill(os.getpid(), signal.SIGTERM)
print("still here", flush=True)
"""


@pytest.fixture
def restored_signals():
    earlier = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, earlier)


def test_a_note_is_read_once_written_and_the_first_cause_stays(tmp_path):
    note = LeaveNote(tmp_path)

    note.write(Cause.RESIZE)
    note.write(Cause.STOP)

    assert LeaveNote(tmp_path).read() is Cause.RESIZE


def test_the_file_system_is_asked_once_a_second(tmp_path):
    now_s = [0.0]
    note = LeaveNote(tmp_path, clock=lambda: now_s[0])
    assert note.read() is None
    LeaveNote(tmp_path).write(Cause.STOP)

    answers = []
    for now_s[0] in (0.5, 0.9, 1.1):
        answers.append(note.read())

    assert answers == [None, None, Cause.STOP]


def test_a_cleared_note_asks_nothing(tmp_path):
    note = LeaveNote(tmp_path)
    note.write(Cause.STOP)

    note.clear()

    assert LeaveNote(tmp_path).read() is None


def test_a_driver_that_gets_sigterm_writes_the_note(tmp_path, restored_signals):
    with told_to_stop(LeaveNote(tmp_path)):
        os.kill(os.getpid(), signal.SIGTERM)

    assert LeaveNote(tmp_path).read() is Cause.STOP


def test_a_worker_survives_sigterm_while_training_and_only_then():
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )

    assert done.stdout.split() == ["preempted"]
    assert done.returncode == -signal.SIGTERM or done.returncode == 128 + signal.SIGTERM
