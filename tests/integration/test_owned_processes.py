"""A cluster's processes are found by what they inherited, and only those are ended."""

import os
import subprocess
import sys
import uuid

import pytest

from raymi.control.processes import create_time, find, is_inside, listening, owned_by, stop_owned

# Says "ready" once it is set up, then waits for ever; the mark is in its environment.
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
WAITING = "print('ready', flush=True); import threading; threading.Event().wait()"
LISTENING = "import socket; s = socket.create_server(('127.0.0.1', 0));"
PARENT = "import subprocess; subprocess.Popen(['env', '-i', 'sleep', '1000']);"


@pytest.fixture
def start():
    started = []

    def launch(cluster_id, code=""):
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", code + WAITING],
            env={**os.environ, "RAYMI_CLUSTER_ID": cluster_id},
            stdout=subprocess.PIPE,
        )
        started.append(process)
        process.stdout.readline()
        return process

    yield launch
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def cluster_id():
    return uuid.uuid4().hex


def pids(processes):
    return {process.pid for process in processes}


def test_a_process_is_found_by_its_mark_and_no_other_is(start, cluster_id):
    ours, theirs = start(cluster_id), start(uuid.uuid4().hex)

    assert pids(owned_by(cluster_id)) == {ours.pid}
    assert theirs.poll() is None


def test_a_child_that_dropped_the_mark_is_found_through_its_parent(start, cluster_id):
    parent = start(cluster_id, PARENT)

    assert len(owned_by(cluster_id)) == 2
    assert parent.pid in pids(owned_by(cluster_id))
    assert stop_owned(cluster_id) == []


def test_whoever_asks_is_never_among_them(cluster_id, monkeypatch):
    code = "import sys; from raymi.control.processes import owned_by; print(owned_by(sys.argv[1]))"

    answer = subprocess.run(
        [sys.executable, "-c", code, cluster_id],
        env={**os.environ, "RAYMI_CLUSTER_ID": cluster_id, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert answer.stdout.strip() == "[]"


def test_stopping_ends_them_and_leaves_others_alone(start, cluster_id):
    ours, theirs = start(cluster_id), start(uuid.uuid4().hex)

    survivors = stop_owned(cluster_id)

    assert survivors == []
    assert owned_by(cluster_id) == []
    assert ours.pid != theirs.pid
    assert theirs.poll() is None


def test_what_ignores_a_request_to_end_is_killed(start, cluster_id, monkeypatch):
    monkeypatch.setattr("raymi.control.processes._TERM_WAIT_S", 0.05)
    start(cluster_id, STUBBORN)

    assert stop_owned(cluster_id) == []


def test_listeners_are_listed_with_their_addresses(start, cluster_id):
    start(cluster_id, LISTENING)

    [(address, port)] = listening(owned_by(cluster_id))

    assert address == "127.0.0.1"
    assert port > 1024


def test_a_recorded_process_is_found_again(start, cluster_id):
    process = start(cluster_id)

    assert find(process.pid, create_time(process.pid)).pid == process.pid


def test_a_pid_that_went_to_another_process_is_not_mistaken_for_the_recorded_one(start, cluster_id):
    process = start(cluster_id)

    assert find(process.pid, create_time(process.pid) - 100.0) is None


def test_a_process_knows_whether_it_belongs_to_a_cluster(cluster_id, monkeypatch):
    monkeypatch.setenv("RAYMI_CLUSTER_ID", cluster_id)

    assert is_inside(cluster_id)
    assert not is_inside(uuid.uuid4().hex)
