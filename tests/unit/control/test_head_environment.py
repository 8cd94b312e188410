"""A head's processes carry the cluster's mark and nobody else's addresses or secrets."""

import shlex
import subprocess
from pathlib import Path

import pytest

from raymi.control.head_environment import (
    SHELL_NAMES,
    daemon_environment,
    shell_lines,
    shell_lines_to_forget,
    shell_variables,
    start_command,
)
from raymi.serve.grpc.ports import FIRST_REPLICA_PORT, LAST_REPLICA_PORT

HOME = Path("/home/ada/.raymi")
PYTHON = Path("/opt/venv/bin/python")


def environment_of(head, **inherited):
    return daemon_environment(head, inherited=inherited, home=HOME, python=PYTHON)


def test_processes_carry_the_mark_by_which_they_are_found(head):
    environment = environment_of(head)

    assert environment["RAYMI_CLUSTER_ID"] == head.cluster_id
    assert environment["SPT_NOENV"] == "1"


def test_authentication_is_on_whatever_the_callers_shell_says(head):
    environment = environment_of(head, RAY_AUTH_MODE="disabled", RAY_AUTH_TOKEN="theirs")

    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN_PATH"] == str(head.token_path)
    assert "RAY_AUTH_TOKEN" not in environment


@pytest.mark.parametrize("name", ["RAY_API_SERVER_ADDRESS", "RAY_REDIS_ADDRESS", "RAY_NAMESPACE"])
def test_addresses_of_another_cluster_do_not_pass(head, name):
    assert name not in environment_of(head, **{name: "elsewhere"})


def test_workers_are_told_which_cluster_they_belong_to(head):
    environment = environment_of(head, RAY_ADDRESS="elsewhere:6379")

    assert environment["RAY_ADDRESS"] == head.gcs_address


def test_python_in_a_jobs_command_is_the_python_of_the_head(head):
    environment = environment_of(head, PATH="/usr/bin")

    assert environment["PATH"] == "/opt/venv/bin:/usr/bin"


def test_ray_can_still_be_tuned_from_the_callers_shell(head):
    environment = environment_of(head, RAY_worker_niceness="10", RAY_memory_usage_threshold="0.9")

    assert environment["RAY_worker_niceness"] == "10"
    assert environment["RAY_memory_usage_threshold"] == "0.9"


def test_a_store_given_relative_to_the_caller_stays_where_it_was(head, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    environment = environment_of(head, RAYMI_STORE="store")

    assert environment["RAYMI_STORE"] == str(tmp_path / "store")


def test_two_heads_share_no_path_and_no_port_of_the_proxy(head):
    other = head.model_copy(update={"temp_dir": head.temp_dir.with_name("other")})
    here, there = environment_of(head), environment_of(other)

    paths = [name for name, value in here.items() if str(head.temp_dir) in value]

    assert len([name for name in paths if "HAPROXY" in name]) == 5
    assert all(here[name] != there[name] for name in paths)


def test_the_head_is_told_to_stay_on_loopback(head):
    assert "--dashboard-host=127.0.0.1" in start_command(head, python=PYTHON)
    assert environment_of(head)["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"


def test_resources_are_passed_on_only_when_they_were_asked_for(head):
    asked = head.model_copy(update={"num_cpus": 2, "num_gpus": 0})

    assert not [word for word in start_command(head, python=PYTHON) if "--num-" in word]
    assert {"--num-cpus=2", "--num-gpus=0"} <= set(start_command(asked, python=PYTHON))


def test_no_command_line_and_no_environment_contains_the_token(head, files):
    files.token.write_text("s3cret")

    everything = [*start_command(head, python=PYTHON), *environment_of(head).values()]

    assert not [text for text in (*everything, *shell_lines(head)) if "s3cret" in text]


def test_a_shell_that_reads_the_lines_has_the_variables(head):
    moved = head.model_copy(update={"token_path": Path("/home/o'brien and co/token")})
    script = "\n".join([*shell_lines(moved), *(f'echo "${name}"' for name in SHELL_NAMES)])

    printed = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)

    assert printed.stdout.splitlines() == [shell_variables(moved)[name] for name in SHELL_NAMES]


def test_forgetting_takes_back_exactly_what_was_set(head):
    forgotten = {shlex.split(line)[1] for line in shell_lines_to_forget()}

    assert forgotten == set(shell_variables(head))


def test_a_cluster_of_hosts_serves_with_the_same_switches(head):
    """What is not a path or a port of one head is the same in cluster/mi300x.env."""
    file = Path(__file__).parents[3] / "cluster" / "mi300x.env"
    lines = [line for line in file.read_text().splitlines() if line.startswith("RAY_SERVE_")]
    there = {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}
    here = environment_of(head)

    own = {"RAY_SERVE_HAPROXY_BINARY_PATH", *(name for name in there if name.endswith("_PORT"))}
    assert {name: there[name] for name in there.keys() - own} == {
        name: here[name] for name in there.keys() - own
    }
    assert int(there["RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"]) == FIRST_REPLICA_PORT
    assert int(there["RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT"]) == LAST_REPLICA_PORT
    assert there["RAY_SERVE_HAPROXY_BINARY_PATH"].endswith("/bin/raymi-haproxy")
    assert "RAY_SERVE_ENABLE_HA_PROXY" in there
