"""SIGTERM and a note in the run's directory both ask, and neither kills a training worker."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from raymi.train.interruption import Cause, LeaveNote, counting_end_requests

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


@pytest.mark.parametrize(
    ("causes", "read"),
    [
        ((Cause.RESIZE,), Cause.RESIZE),
        ((Cause.PREEMPTED, Cause.RESIZE), Cause.PREEMPTED),
        ((Cause.RESIZE, Cause.STOP), Cause.STOP),
        ((Cause.STOP, Cause.RESIZE), Cause.STOP),
    ],
)
def test_the_first_cause_stays_unless_the_job_ends(tmp_path, causes, read):
    for cause in causes:
        LeaveNote(tmp_path).write(cause)

    assert LeaveNote(tmp_path).read() is read


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_driver_counts_how_often_it_is_told_to_end(number):
    with counting_end_requests() as requests:
        os.kill(os.getpid(), number)
        once = requests.count
        os.kill(os.getpid(), number)

    assert (once, requests.count) == (1, 2)


def test_afterwards_signals_mean_what_they_meant_before():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    with counting_end_requests():
        pass

    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_in_a_thread_signals_are_left_alone():
    before = signal.getsignal(signal.SIGTERM)

    def work():
        with counting_end_requests():
            found.append(signal.getsignal(signal.SIGTERM))

    found = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert found == [before]


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
