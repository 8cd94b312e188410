"""`raymi up` gives a head that works beside any other, and `raymi down` leaves nothing of it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from raymi.control import ports, processes
from raymi.control.local_head import read_head

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

RAYMI = Path(sys.executable).with_name("raymi")
JOB_TIMEOUT_S = 90


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "home"
    yield path
    raymi(path, "down")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """The home of a head that several tests look at."""
    path = tmp_path_factory.mktemp("running")
    answer = raymi(path, "up", "--num-cpus", "1")
    assert answer.returncode == 0, answer.stderr
    yield path
    raymi(path, "down")


def raymi(home, *arguments) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RAYMI, *arguments],
        env={**os.environ, "RAYMI_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def facts(home, *arguments) -> dict:
    answer = raymi(home, *arguments, "--json")
    assert answer.stdout, answer.stderr
    return json.loads(answer.stdout)


def session(head, *, token: bool = True) -> requests.Session:
    opened = requests.Session()
    opened.trust_env = False
    if token:
        opened.headers["Authorization"] = f"Bearer {head.token().get_secret_value()}"
    return opened


def run_job(head, entrypoint: str) -> tuple[str, str]:
    """Submit through Ray's own interface and wait; its status and what it printed."""
    jobs = f"{head.dashboard_url}/api/jobs/"
    with session(head) as http:
        name = http.post(jobs, json={"entrypoint": entrypoint}, timeout=60).json()["submission_id"]
        deadline = time.monotonic() + JOB_TIMEOUT_S
        while time.monotonic() < deadline:
            status = http.get(jobs + name, timeout=10).json()["status"]
            if status in ("SUCCEEDED", "FAILED", "STOPPED"):
                break
            time.sleep(0.2)
        # What a job printed last may reach Ray's log a moment after its status; its own first
        # line, which Ray writes, is there at once.
        logs = ""
        while time.monotonic() < deadline and logs.count("\n") < 2:
            logs = http.get(f"{jobs}{name}/logs", timeout=10).json()["logs"]
            time.sleep(0.1)
        return status, logs


def listeners(head) -> list[tuple[str, int]]:
    return processes.listening(processes.owned_by(head.cluster_id))


def test_up_twice_is_up_once(running):
    first = read_head(running)

    again = facts(running, "up")

    assert not again["started"]
    assert again["cluster_id"] == first.cluster_id


def test_asking_for_another_port_of_a_running_head_is_refused(running):
    answer = raymi(running, "up", "--dashboard-port", "1025")

    assert answer.returncode == 2
    assert "already up, with --dashboard-port" in answer.stderr


def test_a_job_finds_the_package(running):
    status, output = run_job(read_head(running), "python -c 'import raymi; print(raymi.__name__)'")

    assert status == "SUCCEEDED"
    assert output.splitlines()[-1] == "raymi"


def test_status_says_what_there_is(running):
    report = facts(running, "status")

    assert report["condition"] == "up"
    assert report["resources"]["CPU"]["total"] == 1
    assert report["applications"] == []


def test_a_request_without_the_token_is_refused(running):
    head = read_head(running)

    with session(head, token=False) as stranger:
        answer = stranger.get(f"{head.dashboard_url}/api/jobs/", timeout=10)

    assert answer.status_code == 401


def test_nothing_of_it_can_be_reached_from_another_machine(running):
    addresses = {address for address, _ in listeners(read_head(running))}

    assert addresses == {"127.0.0.1"}


def test_rays_own_commands_work_in_a_shell_that_read_env(running):
    script = 'eval "$("$0" env)"; "$1" job list && "$1" status'

    answer = subprocess.run(
        ["sh", "-c", script, RAYMI, RAYMI.with_name("ray")],
        env={**os.environ, "RAYMI_HOME": str(running)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert answer.returncode == 0, answer.stderr
    assert "/1.0 CPU" in answer.stdout


def test_down_leaves_nothing_even_when_a_job_is_running(home):
    raymi(home, "up", "--num-cpus", "1")
    head = read_head(home)
    with session(head) as http:
        job = {"entrypoint": "env -i sleep 1000 & sleep 1000"}
        http.post(f"{head.dashboard_url}/api/jobs/", json=job, timeout=60).raise_for_status()
    held = [port for _, port in listeners(head)]

    answer = raymi(home, "down")

    assert answer.returncode == 0, answer.stderr
    assert held
    assert processes.owned_by(head.cluster_id) == []
    assert [port for port in held if not ports.is_free(port)] == []
    assert not head.temp_dir.exists()
    assert raymi(home, "status").returncode == 3


def test_a_head_beside_listeners_on_the_usual_ports_survives_losing_its_core(home):
    with hold(8265), hold(8000), hold(6379), hold(10001), hold(52365):
        answer = raymi(home, "up", "--num-cpus", "1")
        head = read_head(home)
        wait_until_it_watches_its_processes(head)
        owned = processes.owned_by(head.cluster_id)
        [core] = [one for one in owned if processes.title(one).startswith("gcs_server ")]
        core.send_signal(signal.SIGKILL)
        processes.find(head.pid, head.create_time).wait(timeout=60)
        broken = facts(home, "status")

        repaired = facts(home, "up", "--num-cpus", "1")

    assert answer.returncode == 0, answer.stderr
    assert head.ports.dashboard != 8265
    assert broken["condition"] == "dead"
    assert "gcs_server" in broken["last_words"]
    assert repaired["started"]
    assert processes.owned_by(head.cluster_id) == []
    assert facts(home, "status")["condition"] == "up"


def wait_until_it_watches_its_processes(head) -> None:
    """Wait until `ray start` has come to its last step, a moment after the head first answers."""
    deadline = time.monotonic() + 60
    while "--block" not in head.log_path.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)


def test_interrupting_the_start_leaves_nothing(home):
    command = subprocess.Popen(
        [RAYMI, "up"],
        env={**os.environ, "RAYMI_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    cluster_id = wait_for_first_process(home)

    command.send_signal(signal.SIGINT)
    exit_code = command.wait(timeout=60)

    assert exit_code == 130
    assert processes.owned_by(cluster_id) == []
    assert read_head(home) is None


def wait_for_first_process(home) -> str:
    """Wait until `raymi up` has written down the head that it started; the head's id."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        head = read_head(home)
        if head is not None and head.pid is not None:
            return head.cluster_id
        time.sleep(0.02)
    raise AssertionError("`raymi up` wrote nothing down")


class hold:  # noqa: N801 - reads like a verb in `with hold(8265)`
    """Listen on a port, unless somebody does already: in both cases it is not free."""

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)

    def __enter__(self) -> None:
        try:
            self._server = socket.create_server(self._address)
        except OSError:
            self._server = None

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
